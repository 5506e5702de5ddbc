#!/bin/sh
# Prepares the configuration, then becomes the command.
set -eu

# Templates in /etc/nginx/templates become configuration, with the environment's variables in their places.
fill_templates() {
    templates=${NGINX_ENVSUBST_TEMPLATE_DIR:-/etc/nginx/templates}
    suffix=${NGINX_ENVSUBST_TEMPLATE_SUFFIX:-.template}
    output=${NGINX_ENVSUBST_OUTPUT_DIR:-/etc/nginx/conf.d}
    filter=${NGINX_ENVSUBST_FILTER:-}
    [ -d "$templates" ] || return 0
    # Only what is set: nginx's own variables look the same.
    names=$(env | cut -d= -f1 | grep -E "$filter" | sed 's/.*/${&}/' | tr '\n' ' ')
    find "$templates" -follow -type f -name "*$suffix" | sort | while read -r template; do
        relative=${template#"$templates"/}
        target=$output/${relative%"$suffix"}
        mkdir -p "$(dirname "$target")"
        envsubst "$names" < "$template" > "$target"
    done
}

case ${1:-} in
nginx | nginx-debug)
    fill_templates
    for script in $(find /docker-entrypoint.d -follow -type f | sort -V); do
        case $script in
        *.envsh) [ ! -x "$script" ] || . "$script" ;;
        *.sh) [ ! -x "$script" ] || "$script" ;;
        esac
    done
    ;;
esac
exec "$@"
