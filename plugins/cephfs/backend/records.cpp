// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/backend/records.hpp"

#include <sys/random.h>

#include <nlohmann/json.hpp>

namespace gantry::cephfs {

using nlohmann::json;
using plugin::Fail;
using plugin::Result;
using plugin::Status;
namespace code = plugin::code;

namespace {

constexpr size_t kPageEntriesMax = 256;
constexpr std::string_view kDigits = "0123456789abcdef";
constexpr std::string_view kStates[] = {"creating", "ready", "deleting"};
constexpr std::string_view kContents[] = {"none", "volume", "snapshot"};

template <class Enum, size_t kCount>
bool ParseEnum(const json& object, const char* key, const std::string_view (&names)[kCount],
               Enum* out) {
  const std::string name = object.value(key, "");
  for (size_t i = 0; i < kCount; ++i) {
    if (names[i] != name) continue;
    *out = static_cast<Enum>(i);
    return true;
  }
  return false;
}

json ToJson(const SnapshotAt& at) {
  return {{"group", at.group}, {"subvolume", at.subvolume}, {"name", at.name}};
}

SnapshotAt AtFrom(const json& object) {
  return {object.value("group", ""), object.value("subvolume", ""), object.value("name", "")};
}

json ToJson(const std::map<std::string, Publication>& nodes) {
  json object = json::object();
  for (const auto& [node, publication] : nodes)
    object[node] = {{"user", publication.user},
                    {"readonly", publication.readonly},
                    {"closing", publication.closing}};
  return object;
}

Result<json> ParseRecord(std::string_view text) {
  json object = json::parse(text, nullptr, false);
  if (!object.is_object() || !object.contains("format") || !object["format"].is_number_unsigned())
    return Fail(code::kDataLoss, "a record in the cluster is damaged: it is no JSON object");
  if (object["format"].get<uint32_t>() > kRecordFormat)
    return Fail(code::kFailedPrecondition, "a record in the cluster has format " +
                                               object["format"].dump() + "; expected at most " +
                                               std::to_string(kRecordFormat));
  return object;
}

tl::unexpected<plugin::Error> Damaged(const json& object) {
  return Fail(code::kDataLoss,
              "the record of " + object.value("handle", "(nobody)") + " in the cluster is damaged");
}

template <class Record>
Result<Record> Decode(std::string_view text);
template <>
Result<VolumeRecord> Decode(std::string_view text) {
  return DecodeVolume(text);
}
template <>
Result<SnapshotRecord> Decode(std::string_view text) {
  return DecodeSnapshot(text);
}

template <class Record>
const char* KindOf();
template <>
const char* KindOf<VolumeRecord>() {
  return "volumes.";
}
template <>
const char* KindOf<SnapshotRecord>() {
  return "snapshots.";
}

}  // namespace

std::string MakeNonce() {
  uint64_t number = 0;
  // Of so few bytes getrandom(2) never gives less.
  if (getrandom(&number, sizeof number, 0) != static_cast<ssize_t>(sizeof number)) std::abort();
  std::string nonce;
  for (size_t i = 0; i < kNonceDigits; ++i, number >>= 4) nonce += kDigits[number & 0xf];
  return nonce;
}

std::string Encode(const VolumeRecord& record, const std::string& write_nonce) {
  json object = {{"format", kRecordFormat},
                 {"write", write_nonce},
                 {"handle", record.handle},
                 {"name", record.name},
                 {"incarnation", record.incarnation},
                 {"state", kStates[static_cast<size_t>(record.state)]},
                 {"requiredBytes", record.required_bytes},
                 {"limitBytes", record.limit_bytes},
                 {"capacityBytes", record.capacity_bytes},
                 {"parameters", record.parameters},
                 {"mutableParameters", record.mutable_parameters},
                 {"group", record.group},
                 {"subvolume", record.subvolume},
                 {"replaced", record.replaced},
                 {"path", record.path},
                 {"dataPool", record.data_pool},
                 {"poolNamespace", record.pool_namespace},
                 {"content", kContents[static_cast<size_t>(record.content)]},
                 {"contentHandle", record.content_handle},
                 {"copyIsOurs", record.copy_is_ours},
                 {"nodes", ToJson(record.nodes)}};
  if (record.copy_of) object["copyOf"] = ToJson(*record.copy_of);
  return object.dump();
}

std::string Encode(const SnapshotRecord& record, const std::string& write_nonce) {
  return json{{"format", kRecordFormat},
              {"write", write_nonce},
              {"handle", record.handle},
              {"name", record.name},
              {"state", kStates[static_cast<size_t>(record.state)]},
              {"sourceHandle", record.source_handle},
              {"at", ToJson(record.at)},
              {"sourcePath", record.source_path},
              {"dataPool", record.data_pool},
              {"poolNamespace", record.pool_namespace},
              {"sizeBytes", record.size_bytes},
              {"createdNs", record.created_ns},
              {"users", record.users}}
      .dump();
}

// json's typed getters throw for another type than expected.
Result<VolumeRecord> DecodeVolume(std::string_view text) {
  GANTRY_PLUGIN_TRY_ASSIGN(const json object, ParseRecord(text));
  try {
    VolumeRecord record;
    record.handle = object.at("handle").get<std::string>();
    record.name = object.at("name").get<std::string>();
    record.incarnation = object.at("incarnation").get<std::string>();
    record.required_bytes = object.at("requiredBytes").get<uint64_t>();
    record.limit_bytes = object.at("limitBytes").get<uint64_t>();
    record.capacity_bytes = object.at("capacityBytes").get<uint64_t>();
    record.parameters = object.at("parameters").get<std::map<std::string, std::string>>();
    record.mutable_parameters =
        object.at("mutableParameters").get<std::map<std::string, std::string>>();
    record.group = object.at("group").get<std::string>();
    record.subvolume = object.at("subvolume").get<std::string>();
    record.replaced = object.at("replaced").get<std::vector<std::string>>();
    record.path = object.at("path").get<std::string>();
    record.data_pool = object.at("dataPool").get<std::string>();
    record.pool_namespace = object.at("poolNamespace").get<std::string>();
    record.content_handle = object.at("contentHandle").get<std::string>();
    if (object.contains("copyOf")) record.copy_of = AtFrom(object.at("copyOf"));
    record.copy_is_ours = object.at("copyIsOurs").get<bool>();
    for (const auto& [node, publication] : object.at("nodes").items())
      record.nodes[node] = {publication.at("user").get<std::string>(),
                            publication.at("readonly").get<bool>(),
                            publication.at("closing").get<bool>()};
    if (!ParseEnum(object, "state", kStates, &record.state) ||
        !ParseEnum(object, "content", kContents, &record.content))
      return Damaged(object);
    return record;
  } catch (const json::exception&) {
    return Fail(code::kDataLoss, "the record of a volume in the cluster is damaged");
  }
}

Result<SnapshotRecord> DecodeSnapshot(std::string_view text) {
  GANTRY_PLUGIN_TRY_ASSIGN(const json object, ParseRecord(text));
  try {
    SnapshotRecord record;
    record.handle = object.at("handle").get<std::string>();
    record.name = object.at("name").get<std::string>();
    record.source_handle = object.at("sourceHandle").get<std::string>();
    record.at = AtFrom(object.at("at"));
    record.source_path = object.at("sourcePath").get<std::string>();
    record.data_pool = object.at("dataPool").get<std::string>();
    record.pool_namespace = object.at("poolNamespace").get<std::string>();
    record.size_bytes = object.at("sizeBytes").get<uint64_t>();
    record.created_ns = object.at("createdNs").get<int64_t>();
    record.users = object.at("users").get<std::map<std::string, std::string>>();
    if (!ParseEnum(object, "state", kStates, &record.state)) return Damaged(object);
    return record;
  } catch (const json::exception&) {
    return Fail(code::kDataLoss, "the record of a snapshot in the cluster is damaged");
  }
}

template <class Record>
std::string Records<Record>::ObjectOf(char digit) {
  return KindOf<Record>() + std::string(1, digit);
}

template <class Record>
Result<std::optional<Stored<Record>>> Records<Record>::Find(const std::string& handle,
                                                            TimePoint deadline) const {
  GANTRY_PLUGIN_TRY_ASSIGN(auto text, cluster_->Read(ObjectOf(handle.front()), handle, deadline));
  if (!text) return std::nullopt;
  GANTRY_PLUGIN_TRY_ASSIGN(Record record, Decode<Record>(*text));
  return Stored<Record>{std::move(record), std::move(*text)};
}

template <class Record>
Result<bool> Records<Record>::Write(Stored<Record>* stored, TimePoint deadline) const {
  const std::string& handle = stored->record.handle;
  std::string text = Encode(stored->record, MakeNonce());
  GANTRY_PLUGIN_TRY_ASSIGN(const bool written, cluster_->Swap(ObjectOf(handle.front()), handle,
                                                              stored->text, text, deadline));
  if (written) stored->text = std::move(text);
  return written;
}

template <class Record>
Result<bool> Records<Record>::Remove(const Stored<Record>& stored, TimePoint deadline) const {
  const std::string& handle = stored.record.handle;
  return cluster_->Swap(ObjectOf(handle.front()), handle, stored.text, {}, deadline);
}

template <class Record>
void Records<Record>::RemoveLater(const Stored<Record>& stored) const {
  const std::string& handle = stored.record.handle;
  cluster_->RemoveLater(ObjectOf(handle.front()), handle, stored.text);
}

template <class Record>
Status Records<Record>::ForEach(const std::string& after, TimePoint deadline,
                                const std::function<bool(const Record&)>& visit) const {
  for (const char digit : kDigits) {
    if (!after.empty() && digit < after.front()) continue;
    std::string last = after;
    while (true) {
      GANTRY_PLUGIN_TRY_ASSIGN(const auto page,
                               cluster_->Page(ObjectOf(digit), last, kPageEntriesMax, deadline));
      for (const auto& [handle, text] : page) {
        GANTRY_PLUGIN_TRY_ASSIGN(const Record record, Decode<Record>(text));
        if (!visit(record)) return {};
      }
      if (page.size() < kPageEntriesMax) break;
      last = page.back().first;
    }
  }
  return {};
}

template class Records<VolumeRecord>;
template class Records<SnapshotRecord>;

}  // namespace gantry::cephfs
