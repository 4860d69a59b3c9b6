{% for limit in provider.limits %}
# {{ limit }}
{% endfor %}
# With the Tigris CLI (npm install -g @tigrisdata/cli).
tigris login
{% if 'bucket' in steps %}
tigris mk {{ bucket | sh }}
{% endif %}
# The bot's key: it may read and write under the prefix, and delete nothing. It shows an id and a
# secret. Put the id in the place of KEY-ID.
tigris access-keys create {{ user | sh }}
tigris iam policies create {{ user | sh }} --document {{ policy | json | sh }}
tigris access-keys attach-policy KEY-ID
# Run this, type two lines with the id and the secret, and end with Ctrl-D:
#   AWS_ACCESS_KEY_ID=...
#   AWS_SECRET_ACCESS_KEY=...
cat >>{{ env_file | sh }}
{{ doctor }}
