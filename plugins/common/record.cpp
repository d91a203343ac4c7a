// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/record.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

namespace gantry::plugin {
namespace {

using nlohmann::json;

constexpr std::array<const char*, 3> kStates = {"creating", "ready", "deleting"};
constexpr std::array<const char*, 3> kDisposals = {"delete", "retain", "archive"};
constexpr std::array<const char*, 2> kSources = {"volume", "snapshot"};
constexpr std::array<const char*, 4> kKinds = {"create", "delete", "archive", "record"};

template <class Enum, size_t kCount>
bool Read(const json& object, const char* key, const std::array<const char*, kCount>& words,
          Enum* out) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string()) return false;
  for (size_t i = 0; i < words.size(); ++i) {
    if (*found == words[i]) {
      *out = static_cast<Enum>(i);
      return true;
    }
  }
  return false;
}
bool Read(const json& object, const char* key, std::string* out) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string()) return false;
  *out = found->get<std::string>();
  return true;
}
bool Read(const json& object, const char* key, uint64_t* out) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_unsigned()) return false;
  *out = found->get<uint64_t>();
  return true;
}
bool Read(const json& object, const char* key, int64_t* out) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer()) return false;
  *out = found->get<int64_t>();
  return true;
}
bool Read(const json& object, const char* key, bool* out) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_boolean()) return false;
  *out = found->get<bool>();
  return true;
}
bool Read(const json& object, const char* key, std::map<std::string, std::string>* out) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_object()) return false;
  for (const auto& [name, value] : found->items()) {
    if (!value.is_string()) return false;
    out->emplace(name, value.get<std::string>());
  }
  return true;
}
// It names a directory that is removed with what is in it, so it must be nothing but a name.
bool IsNonce(std::string_view nonce) {
  return !nonce.empty() && nonce.size() <= kNonceBytesMax &&
         std::all_of(nonce.begin(), nonce.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-';
         });
}
bool Read(const json& object, const char* key, std::vector<Attempt>* out) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_array()) return false;
  for (const auto& item : *found) {
    Attempt attempt;
    if (!item.is_object() || !Read(item, "kind", kKinds, &attempt.kind) ||
        !Read(item, "nonce", &attempt.nonce) || !Read(item, "fsid", &attempt.fsid) ||
        !Read(item, "fileid", &attempt.fileid) || !Read(item, "beside", &attempt.beside) ||
        !IsNonce(attempt.nonce)) {
      return false;
    }
    out->push_back(std::move(attempt));
  }
  return true;
}

// What format 2 adds.
bool ReadMore(const json& object, Record* record) {
  if (!Read(object, "mutableParameters", &record->mutable_parameters)) return false;
  const auto source = object.find("source");
  if (source == object.end()) return true;
  CopySource from;
  if (!source->is_object() || !Read(*source, "kind", kSources, &from.kind) ||
      !Read(*source, "handle", &from.handle) || !Read(*source, "incarnation", &from.incarnation) ||
      !Read(object, "copied", &record->copied) || !Read(object, "copiedNs", &record->copied_ns)) {
    return false;
  }
  record->source = std::move(from);
  return true;
}

}  // namespace

uint32_t FormatOf(const Record& record) {
  return record.source || !record.mutable_parameters.empty() ? 2 : kRecordFormatMin;
}

std::string Encode(const Record& record) {
  json attempts = json::array();
  for (const auto& attempt : record.attempts) {
    attempts.push_back({{"kind", kKinds[static_cast<size_t>(attempt.kind)]},
                        {"nonce", attempt.nonce},
                        {"fsid", attempt.fsid},
                        {"fileid", attempt.fileid},
                        {"beside", attempt.beside}});
  }
  const uint32_t format = FormatOf(record);
  json object = {{"format", format},
                 {"kind", "volume"},
                 {"handle", record.handle},
                 {"name", record.name},
                 {"owner", record.owner},
                 {"incarnation", record.incarnation},
                 {"write", record.write},
                 {"state", kStates[static_cast<size_t>(record.state)]},
                 {"creatingUntil", record.creating_until},
                 {"attempts", attempts},
                 {"requiredBytes", record.required_bytes},
                 {"limitBytes", record.limit_bytes},
                 {"capacityBytes", record.capacity_bytes},
                 {"path", Join(record.path)},
                 {"created", record.created},
                 {"fileid", record.fileid},
                 {"disposal", kDisposals[static_cast<size_t>(record.disposal)]},
                 {"parameters", record.parameters}};
  if (format >= 2) object["mutableParameters"] = record.mutable_parameters;
  if (record.source) {
    object["source"] = {{"kind", kSources[static_cast<size_t>(record.source->kind)]},
                        {"handle", record.source->handle},
                        {"incarnation", record.source->incarnation}};
    object["copied"] = record.copied;
    object["copiedNs"] = record.copied_ns;
  }
  return object.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

Result<Record> Decode(std::string_view text, std::string_view where) {
  const auto lost = [&](const std::string& why) {
    return Fail(code::kDataLoss, "the record " + std::string(where) + " " + why);
  };
  const json object = json::parse(text, nullptr, false);
  if (!object.is_object()) return lost("is no JSON object");
  uint64_t format = 0;
  std::string kind;
  if (!Read(object, "format", &format) || !Read(object, "kind", &kind)) {
    return lost("has no format and kind");
  }
  if (format > kRecordFormat) {
    return Fail(code::kFailedPrecondition,
                "the record " + std::string(where) + " has format " + std::to_string(format) +
                    "; this version reads up to " + std::to_string(kRecordFormat));
  }
  Record record;
  std::string path;
  if (kind != "volume" || !Read(object, "handle", &record.handle) ||
      !Read(object, "name", &record.name) || !Read(object, "owner", &record.owner) ||
      !Read(object, "incarnation", &record.incarnation) || !Read(object, "write", &record.write) ||
      !Read(object, "state", kStates, &record.state) ||
      !Read(object, "attempts", &record.attempts) ||
      !Read(object, "requiredBytes", &record.required_bytes) ||
      !Read(object, "limitBytes", &record.limit_bytes) ||
      !Read(object, "capacityBytes", &record.capacity_bytes) || !Read(object, "path", &path) ||
      !Read(object, "created", &record.created) || !Read(object, "fileid", &record.fileid) ||
      !Read(object, "disposal", kDisposals, &record.disposal) ||
      !Read(object, "parameters", &record.parameters)) {
    return lost("lacks a field or has one of another type");
  }
  if (object.contains("creatingUntil") && !Read(object, "creatingUntil", &record.creating_until)) {
    return lost("has a bad creatingUntil");
  }
  if (format >= 2 && !ReadMore(object, &record)) {
    return lost("lacks a field of format 2 or has one of another type");
  }
  auto parsed = ParseSubDir(path);
  if (!parsed) return lost("has a bad path: " + parsed.error().message);
  record.path = std::move(*parsed);
  return record;
}

}  // namespace gantry::plugin
