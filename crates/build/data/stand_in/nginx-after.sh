#!/bin/sh
set -eu
# Debian's layout of sites makes way for the one folder that guides write to.
rm -rf /etc/nginx/sites-enabled /etc/nginx/sites-available /var/www/html/index.nginx-debian.html
install -d /etc/nginx/conf.d /etc/nginx/templates /docker-entrypoint.d /usr/share/nginx/html
rm -f /usr/share/nginx/html/index.html
cp /.coil/nginx.conf /etc/nginx/nginx.conf
cp /.coil/default.conf /etc/nginx/conf.d/default.conf
cp /.coil/index.html /usr/share/nginx/html/index.html
chown -R nginx:nginx /var/lib/nginx /var/log/nginx
ln -sf /dev/stdout /var/log/nginx/access.log
ln -sf /dev/stderr /var/log/nginx/error.log
install -d -o nginx -g nginx /var/cache/nginx
