{% for limit in provider.limits %}
# {{ limit }}
{% endfor %}
# With the MinIO client. It asks for the access key and secret of an administrator.
mc alias set storage {{ answers.endpoint_url | sh }}
{% if 'bucket' in steps %}
mc mb --region {{ answers.region | sh }} storage/{{ bucket | sh }}
{% endif %}
{% if 'versions' in steps %}
mc version enable storage/{{ bucket | sh }}
{% endif %}
{% if 'retention' in steps %}
mc ilm rule add --prefix {{ prefix | sh }} --noncurrent-expire-days {{ answers.history_days }} \
    --expire-delete-marker storage/{{ bucket | sh }}
mc ilm rule add --prefix {{ (prefix + 'doctor/') | sh }} --expire-days 1 storage/{{ bucket | sh }}
{% endif %}
# The bot's user: it may read and write under the prefix, and delete nothing.
mc admin policy create storage {{ user | sh }} /dev/stdin <<'POLICY'
{{ policy | json }}
POLICY
secret=$(od -An -N20 -tx1 /dev/urandom | tr -d ' \n')
printf '%s\n' {{ user | sh }} "$secret" | mc admin user add storage
mc admin policy attach storage {{ user | sh }} --user {{ user | sh }}
printf 'AWS_ACCESS_KEY_ID=%s\nAWS_SECRET_ACCESS_KEY=%s\n' {{ user | sh }} "$secret" >>{{ env_file | sh }}
{{ doctor }}
