{% for limit in provider.limits %}
# {{ limit }}
{% endfor %}
# With Node.js, and an account on which R2 is turned on.
{% if 'bucket' in steps %}
npx wrangler r2 bucket create {{ bucket | sh }}
{% endif %}
# In the dashboard (R2, Manage API tokens), make a token with Object Read & Write for this bucket
# alone. It shows an access key and a secret. Run this, type two lines, and end with Ctrl-D:
#   AWS_ACCESS_KEY_ID=...
#   AWS_SECRET_ACCESS_KEY=...
cat >>{{ env_file | sh }}
{{ doctor }}
