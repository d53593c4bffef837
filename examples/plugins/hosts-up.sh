#!/bin/sh
# A plugin for gmetad in sh: keeps one line for each cluster, "NAME UP DOWN", in a file.
# In gmetad.conf:   hosts-up {
#                      file /var/lib/ganglia/hosts-up
#                   }
file=
while IFS= read -r line; do
  # The daemon writes `type` first, then `id`; the rest of this is only good for what it looks at.
  case $line in
  '{"type":"hello"'*)
    echo '{"type":"hello","protocol":1,"detail":"summary"}'
    ;;
  '{"type":"config"'*)
    rest=${line#*'["file","'}
    file=${rest%%'"]'*}
    if [ "$rest" = "$line" ] || ! mkdir -p "$file.d"; then
      echo '{"type":"error","text":"file: name a file that can be written, such as file /var/lib/ganglia/hosts-up"}'
    else
      echo '{"type":"ok"}'
    fi
    ;;
  '{"type":"cluster"'*)
    rest=${line#*'"id":'} id=${rest%%,*}
    rest=${line#*'"name":"'} name=${rest%%'"'*}
    rest=${line#*'"up":'} up=${rest%%,*}
    rest=${line#*'"down":'} down=${rest%%,*}
    # A name is anything: no part of a path is made of it.
    key=$(printf '%s' "$name" | cksum | tr ' ' -)
    echo "$name $up $down" >"$file.d/$key" && cat "$file.d"/* >"$file.new" && mv "$file.new" "$file"
    echo "{\"type\":\"ok\",\"id\":$id}"
    ;;
  '{"type":"stop"'*)
    echo '{"type":"ok"}'
    exit 0
    ;;
  *)
    echo '{"type":"ok"}'
    ;;
  esac
done
