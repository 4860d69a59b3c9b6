{% for limit in provider.limits %}
# {{ limit }}
{% endfor %}
# With the AWS CLI, as somebody who may make buckets and users.
{% if 'bucket' in steps %}
aws s3api create-bucket --bucket {{ bucket | sh }} --region {{ answers.region | sh }}
{%- if answers.region != 'us-east-1' %}
 \
    --create-bucket-configuration LocationConstraint={{ answers.region | sh }}
{%- endif %}

{% endif %}
{% if 'privacy' in steps %}
aws s3api put-public-access-block --bucket {{ bucket | sh }} --public-access-block-configuration \
    BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true
{% endif %}
{% if 'versions' in steps %}
aws s3api put-bucket-versioning --bucket {{ bucket | sh }} --versioning-configuration Status=Enabled
{% endif %}
{% if 'retention' in steps %}
# For a new bucket: where there are lifecycle rules already, this would replace them.
aws s3api put-bucket-lifecycle-configuration --bucket {{ bucket | sh }} \
    --lifecycle-configuration {{ rules | json | sh }}
{% endif %}
# The bot's user: it may read and write under the prefix, and delete nothing. On a host with a role
# (EC2, ECS, Lambda), give the policy to that role instead, and leave user and access key out.
aws iam create-user --user-name {{ user | sh }}
aws iam put-user-policy --user-name {{ user | sh }} --policy-name ptb-s3 \
    --policy-document {{ policy | json | sh }}
aws iam create-access-key --user-name {{ user | sh }} --output text \
    --query 'AccessKey.[AccessKeyId,SecretAccessKey]' |
    awk '{print "AWS_ACCESS_KEY_ID=" $1 "\nAWS_SECRET_ACCESS_KEY=" $2}' >>{{ env_file | sh }}
echo "PTB_S3_EXPECTED_BUCKET_OWNER=$(
    aws sts get-caller-identity --query Account --output text)" >>{{ env_file | sh }}
{{ doctor }}
