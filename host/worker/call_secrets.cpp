// SPDX-License-Identifier: Apache-2.0
#include "host/worker/call_secrets.hpp"

#include <google/protobuf/io/coded_stream.h>

#include <cstring>

namespace gantry::worker {
namespace {

using google::protobuf::io::CodedInputStream;

// Protobuf's encoding of map<string, string> in field 1: entries of a key (1) and a value (2).
constexpr uint32_t kEntryTag = 1 << 3 | 2;
constexpr uint32_t kKeyTag = 1 << 3 | 2;
constexpr uint32_t kValueTag = 2 << 3 | 2;

// A length-delimited field, as a view into what the stream reads.
bool ReadView(CodedInputStream& in, std::string_view* view) {
  uint32_t length = 0;
  const void* data = nullptr;
  int available = 0;
  if (!in.ReadVarint32(&length)) return false;
  *view = {};
  if (length == 0) return true;
  if (!in.GetDirectBufferPointer(&data, &available)) return false;
  if (length > static_cast<uint32_t>(available)) return false;
  *view = {static_cast<const char*>(data), length};
  return in.Skip(static_cast<int>(length));
}

bool ReadEntry(std::string_view entry, std::string_view* key, std::string_view* value) {
  CodedInputStream in(reinterpret_cast<const uint8_t*>(entry.data()),
                      static_cast<int>(entry.size()));
  *key = *value = {};
  while (const uint32_t tag = in.ReadTag())
    if (!(tag == kKeyTag ? ReadView(in, key) : tag == kValueTag && ReadView(in, value)))
      return false;
  return in.ConsumedEntireMessage();
}

}  // namespace

base::Result<CallSecrets> CallSecrets::Parse(const base::SecretBytes& message) {
  const auto malformed = [] {
    return base::Fail(base::Code::kInternal, "the call's secrets are not a Secrets message");
  };
  CallSecrets secrets;
  // Each key and value has at least two bytes before it, which become their NULs.
  secrets.bytes_.Resize(message.size());
  char* const bytes = secrets.bytes_.data();
  size_t used = 0;
  const auto copy = [&](std::string_view text) {
    const size_t at = used;
    if (!text.empty()) std::memcpy(bytes + at, text.data(), text.size());
    used += text.size() + 1;
    return at;
  };
  CodedInputStream in(reinterpret_cast<const uint8_t*>(message.view().data()),
                      static_cast<int>(message.size()));
  while (const uint32_t tag = in.ReadTag()) {
    std::string_view entry;
    std::string_view key;
    std::string_view value;
    if (tag != kEntryTag || !ReadView(in, &entry) || !ReadEntry(entry, &key, &value))
      return malformed();
    if (used + key.size() + value.size() + 2 > secrets.bytes_.size()) return malformed();
    if (secrets.entries_.size() == kSecretsOfCallMax)
      return base::Fail(base::Code::kInvalidArgument,
                        "secrets: more than " + std::to_string(kSecretsOfCallMax) + " entries");
    const size_t key_at = copy(key);
    secrets.entries_.push_back({key_at, key.size(), copy(value), value.size()});
  }
  if (!in.ConsumedEntireMessage()) return malformed();
  return secrets;
}

bool CallSecrets::Find(std::string_view key, gantry_str* value) const {
  const std::string_view bytes = bytes_.view();
  for (const Entry& entry : entries_) {
    if (bytes.substr(entry.key, entry.key_length) != key) continue;
    *value = {bytes.data() + entry.value, entry.value_length};
    return true;
  }
  *value = {nullptr, 0};
  return false;
}

void CallSecrets::Wipe() {
  base::Wipe({bytes_.data(), bytes_.size()});
  entries_.clear();
}

}  // namespace gantry::worker
