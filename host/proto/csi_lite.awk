# SPDX-License-Identifier: Apache-2.0
# Derives the worker's copy of csi.proto: the same bytes on the wire, but for libprotobuf-lite and
# in a package of its own, so that a plugin that brings shared protobuf and csi.v1 meets nothing of
# ours.
# protoc refuses descriptor extensions in lite files, and the well-known types are not in
# libprotobuf-lite.a: extensions, options and services go, the well-known types become private
# messages. Rejected: a second proto kept by hand, which would drift.
# What this script fails to understand stays in its output, and protoc or csi_lite_test refuses it.

/^ *\/\// { next }
/^import / { next }
/^ +option / { next }
/^(service|extend) / { skipping = 1 }
skipping { if (/^}/) skipping = 0; next }
/^package / {
  print "package gantry.lite.csi.v1;\n"
  print "option optimize_for = LITE_RUNTIME;"
  next
}
{
  sub(/ *\[[^\]]*\];/, ";")
  gsub(/google\.protobuf\./, "")
  print
}
END {
  print "message Timestamp {\n  int64 seconds = 1;\n  int32 nanos = 2;\n}\n"
  print "message BoolValue {\n  bool value = 1;\n}\n"
  print "message Int64Value {\n  int64 value = 1;\n}"
}
