# A bucket for the state of one ptb-s3 bot: versions as its history, for as long as you say, and two
# policies, for the bot and for whoever operates it. template.yaml is the same in CloudFormation.

terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.86.1, < 7" # 5.86.0 fails on a lifecycle rule whose prefix is empty
    }
  }
}

variable "bucket_name" {
  type        = string
  default     = ""
  description = "Name of the bucket. If empty, Terraform makes one up."

  validation {
    # No dots: a name with dots does not fit the certificate of *.s3.amazonaws.com.
    condition     = can(regex("^([a-z0-9][a-z0-9-]{1,61}[a-z0-9])?$", var.bucket_name))
    error_message = "Must be 3 to 63 lower-case letters, digits and hyphens, or empty."
  }
}

variable "prefix" {
  type        = string
  default     = ""
  description = "What the names of all objects begin with, such as shop-bot/. Goes into PTB_S3_PREFIX."

  validation {
    # The slash keeps a bot's policy off the objects of another whose prefix begins the same. No
    # wildcards, since the prefix becomes part of what the policies allow.
    condition     = can(regex("^([A-Za-z0-9!_.()-][A-Za-z0-9!_.()/-]*/)?$", var.prefix))
    error_message = "Must be letters, digits and any of !_.()-/ and end in a slash but not begin with one, or be empty."
  }
}

variable "history_days" {
  type        = number
  default     = 30
  description = "Days that a version is kept once it has been replaced. So far back can the state be restored, and so long does it hold what was forgotten, unless that is purged."

  validation {
    condition     = var.history_days >= 1 && floor(var.history_days) == var.history_days
    error_message = "Must be a whole number of days, at least 1."
  }
}

variable "kms_key_arn" {
  type        = string
  default     = ""
  description = "ARN of the key in AWS KMS that is to seal the state, for PTB_S3_KMS_KEY_ID. Its own policy has to leave permissions to IAM, as KMS's default does. If empty, PTB_S3_KEY seals."

  validation {
    # Of the key itself: a policy that names an alias allows nothing.
    condition     = can(regex("^(arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[a-z0-9-]+)?$", var.kms_key_arn))
    error_message = "Must be the ARN of a key, arn:aws:kms:...:key/..., or be empty."
  }
}

# The bucket --------------------------------------------------------------------------------------

resource "aws_s3_bucket" "state" {
  bucket = var.bucket_name == "" ? null : var.bucket_name

  lifecycle {
    prevent_destroy = true # no plan takes the state with it
  }
}

resource "aws_s3_bucket_versioning" "state" {
  bucket = aws_s3_bucket.state.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_public_access_block" "state" {
  bucket = aws_s3_bucket.state.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "state" {
  bucket = aws_s3_bucket.state.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

# What lies here is sealed by ptb-s3 already; this is for audits, and costs nothing.
resource "aws_s3_bucket_server_side_encryption_configuration" "state" {
  bucket = aws_s3_bucket.state.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "state" {
  bucket     = aws_s3_bucket.state.id
  depends_on = [aws_s3_bucket_versioning.state] # without versions, there are none to expire

  # Retention. It touches no current version, so it removes nothing that the state needs.
  rule {
    id     = "history"
    status = "Enabled"

    filter {
      prefix = var.prefix
    }

    noncurrent_version_expiration {
      noncurrent_days = var.history_days
    }

    expiration {
      expired_object_delete_marker = true
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 3
    }
  }

  # What `ptb-s3 doctor` tries its writes on, where it may not delete it again.
  rule {
    id     = "doctor"
    status = "Enabled"

    filter {
      prefix = "${var.prefix}doctor/"
    }

    expiration {
      days = 1
    }
  }
}

resource "aws_s3_bucket_policy" "state" {
  bucket     = aws_s3_bucket.state.id
  policy     = jsonencode(local.bucket_policy)
  depends_on = [aws_s3_bucket_public_access_block.state] # S3 refuses to change both at once
}

# Who may do what ---------------------------------------------------------------------------------

resource "aws_iam_policy" "bot" {
  name_prefix = "ptb-s3-bot-"
  description = "Run a ptb-s3 bot, and start it from an older state. It can remove nothing."
  policy      = jsonencode(merge(local.bot_policy, { Statement = concat(local.bot_policy.Statement, local.key_statements) }))
}

resource "aws_iam_policy" "operator" {
  name_prefix = "ptb-s3-operator-"
  description = "Run every command of ptb-s3, prune and forget included. It can not change the bucket."
  policy      = jsonencode(merge(local.operator_policy, { Statement = concat(local.operator_policy.Statement, local.key_statements) }))
}

locals {
  bucket_policy = {
    Version = "2012-10-17"
    Statement = [
      # TLS 1.2 or newer, that is: S3 speaks nothing older.
      {
        Sid       = "NothingWithoutTLS"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource = [
          aws_s3_bucket.state.arn,
          "${aws_s3_bucket.state.arn}/*",
        ]
        Condition = {
          Bool = {
            "aws:SecureTransport" = "false"
          }
        }
      },
    ]
  }

  key_statements = var.kms_key_arn == "" ? [] : [local.key_statement]

  # A data key for each process, and those of other processes: nothing else that KMS can do.
  key_statement = {
    Sid    = "MakeAndUnwrapDataKeys"
    Effect = "Allow"
    Action = [
      "kms:GenerateDataKey",
      "kms:Decrypt",
    ]
    Resource = var.kms_key_arn
    Condition = {
      StringEquals = {
        "kms:EncryptionContext:ptb-s3" = "1"
      }
    }
  }

  bot_policy = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "ReadAndWriteTheState"
        Effect = "Allow"
        Action = [
          "s3:GetObject",
          "s3:GetObjectVersion",
          "s3:PutObject",
        ]
        Resource = "${aws_s3_bucket.state.arn}/${var.prefix}*"
      },
      # ListBucket is what makes S3 say "not found" of an object that does not exist; without it, that
      # is "denied", and a new bot does not start. No condition on s3:prefix: reading an object has no
      # such key, so S3 would say "denied" again. ListBucketVersions is for PTB_S3_RESTORE with a
      # revision or a time.
      {
        Sid    = "TellMissingFromDeniedAndListTheHistory"
        Effect = "Allow"
        Action = [
          "s3:ListBucket",
          "s3:ListBucketVersions",
        ]
        Resource = aws_s3_bucket.state.arn
      },
    ]
  }

  operator_policy = {
    Version = "2012-10-17"
    Statement = [
      # By version id only, for `prune` and `forget --purge`, which name what is locked.
      {
        Sid    = "ReadWriteAndThinTheState"
        Effect = "Allow"
        Action = [
          "s3:GetObject",
          "s3:GetObjectVersion",
          "s3:PutObject",
          "s3:DeleteObjectVersion",
          "s3:GetObjectRetention",
          "s3:GetObjectLegalHold",
        ]
        Resource = "${aws_s3_bucket.state.arn}/${var.prefix}*"
      },
      {
        Sid      = "ClearAwayAfterDoctor"
        Effect   = "Allow"
        Action   = "s3:DeleteObject"
        Resource = "${aws_s3_bucket.state.arn}/${var.prefix}doctor/*"
      },
      {
        Sid    = "ListTheHistoryAndLookAtTheBucket"
        Effect = "Allow"
        Action = [
          "s3:ListBucket",
          "s3:ListBucketVersions",
          "s3:GetBucketLocation",
          "s3:GetBucketObjectLockConfiguration",
          "s3:GetBucketPolicyStatus",
          "s3:GetBucketPublicAccessBlock",
          "s3:GetBucketVersioning",
          "s3:GetEncryptionConfiguration",
          "s3:GetLifecycleConfiguration",
          "s3:GetReplicationConfiguration",
        ]
        Resource = aws_s3_bucket.state.arn
      },
    ]
  }
}

# What the bot is told ----------------------------------------------------------------------------

data "aws_caller_identity" "current" {}

output "bucket_name" {
  description = "Name of the bucket."
  value       = aws_s3_bucket.state.id
}

output "bot_policy_arn" {
  description = "Policy to attach to the role or user that the bot runs as."
  value       = aws_iam_policy.bot.arn
}

output "operator_policy_arn" {
  description = "Policy to attach to the role or user of whoever operates the bot."
  value       = aws_iam_policy.operator.arn
}

output "environment" {
  description = "The bot's settings, as lines of an .env file. PTB_S3_KEY is yours to add, unless KMS seals."
  value       = <<-EOT
    PTB_S3_BUCKET=${aws_s3_bucket.state.id}
    PTB_S3_PREFIX=${var.prefix}
    PTB_S3_REGION=${aws_s3_bucket.state.region}
    PTB_S3_EXPECTED_BUCKET_OWNER=${data.aws_caller_identity.current.account_id}
    PTB_S3_KMS_KEY_ID=${var.kms_key_arn}
  EOT
}
