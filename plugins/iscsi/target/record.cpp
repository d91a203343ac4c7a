// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target/record.hpp"

#include <algorithm>
#include <utility>

#include "plugins/iscsi/target/json_fields.hpp"

namespace gantry::iscsi::target {
namespace {

using plugin::Fail;
using plugin::Result;
namespace code = plugin::code;

constexpr std::array<const char*, 2> kKinds = {"volume", "snapshot"};
constexpr std::array<const char*, 3> kStates = {"copying", "ready", "deleting"};
constexpr size_t kSealedBytesMax = 4096;
constexpr TextRule kSealedRule{0, kSealedBytesMax, IsHex, "hex digits"};

}  // namespace

template <class F, Is<RecordedPublication> T>
void Fields(F& f, T& x) {
  f.Object("node", x.node);
  f.Text("chap_user", x.chap_user, kNoOrChapUserRule);
  f.Text("sealed_chap", x.sealed_chap, kSealedRule);
}
template <class F, Is<Record> T>
void Fields(F& f, T& x) {
  f.Word("kind", x.kind, kKinds);
  f.Word("state", x.state, kStates);
  f.Text("handle", x.handle, kHandleRule);
  f.Text("incarnation", x.incarnation, kIncarnationRule);
  f.Text("name", x.name, kNameRule);
  f.Text("owner", x.owner, kOwnerRule);
  f.Number("size_bytes", x.size_bytes, kSizeRule);
  f.Map("parameters", x.parameters);
  f.Map("mutable_parameters", x.mutable_parameters);
  f.Object("content", x.content);
  f.Text("content_incarnation", x.content_incarnation, kNoOrIncarnationRule);
  f.Time("created_ns", x.created_ns);
  f.Flag("was_published", x.was_published);
  f.Number("writers", x.writers, kAnyNumber);
  f.Number("copied_bytes", x.copied_bytes, kSizeRule);
  f.Number("copied_writers", x.copied_writers, kAnyNumber);
  f.List("nodes", x.nodes, kNodesOfVolumeMax);
}

std::string Encode(const Record& record) {
  nlohmann::json object = FieldWriter::Write(record);
  object["format"] = kRecordFormat;
  return object.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

Result<Record> DecodeRecord(std::string_view text, const std::string& where) {
  nlohmann::json object = nlohmann::json::parse(text, nullptr, false);
  const auto format = object.is_object() ? object.find("format") : object.end();
  if (!object.is_object() || format == object.end() || !format->is_number_unsigned())
    return Fail(code::kDataLoss, where + ": no record");
  if (*format > kRecordFormat)
    return Fail(code::kFailedPrecondition,
                where + ": format " + format->dump() + " is newer than this gantry-target knows");
  object.erase("format");
  auto record = FieldReader::Read<Record>(object, "");
  if (!record) return Fail(code::kDataLoss, where + ": " + record.error().message);
  return record;
}

bool HasWriter(const Record& record) {
  return std::any_of(record.nodes.begin(), record.nodes.end(),
                     [](const auto& publication) { return !publication.node.readonly; });
}

}  // namespace gantry::iscsi::target
