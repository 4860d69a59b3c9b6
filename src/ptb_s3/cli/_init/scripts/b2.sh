{% for limit in provider.limits %}
# {{ limit }}
{% endfor %}
# With the B2 command line tool, version 4. It asks for an application key that may make buckets and
# keys.
b2 account authorize
{% if 'bucket' in steps %}
b2 bucket create --lifecycle-rule '{"daysFromHidingToDeleting": {{ answers.history_days }}, "daysFromUploadingToHiding": null, "fileNamePrefix": "{{ prefix }}"}' \
    {{ bucket | sh }} allPrivate
{% elif 'retention' in steps %}
# For a new bucket: where there are lifecycle rules already, this would replace them.
b2 bucket update --lifecycle-rule '{"daysFromHidingToDeleting": {{ answers.history_days }}, "daysFromUploadingToHiding": null, "fileNamePrefix": "{{ prefix }}"}' \
    {{ bucket | sh }}
{% endif %}
# The bot's key: it may read and write under the prefix, and delete nothing.
b2 key create --bucket {{ bucket | sh }} --name-prefix {{ prefix | sh }} {{ user | sh }} \
    listBuckets,readBuckets,listFiles,readFiles,writeFiles |
    awk '{print "AWS_ACCESS_KEY_ID=" $1 "\nAWS_SECRET_ACCESS_KEY=" $2}' >>{{ env_file | sh }}
{{ doctor }}
