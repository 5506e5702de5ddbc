until pg_isready -q -h 127.0.0.1 -U app; do sleep 0.1; done
psql -h 127.0.0.1 -At postgresql://app:secret@127.0.0.1/shop -c 'SELECT name FROM item'
