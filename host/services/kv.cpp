// SPDX-License-Identifier: Apache-2.0
#include "host/services/kv.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>

#include "host/base/file.hpp"

namespace gantry::services {
namespace {

using base::Code;
using base::Fail;

// A key's file is its name and '=', which no key contains: "." and ".." become ordinary names, and
// no key's file is another's temporary ("<key>=.tmp").
constexpr char kFileEnd = '=';
// "gantry-kv 1 <version> <bytes>\n", then the value.
constexpr std::string_view kMagic = "gantry-kv 1 ";
constexpr size_t kHeaderBytesMax = 64;

bool IsKeyChar(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

base::Status CheckKey(const std::string& key) {
  if (!key.empty() && key.size() <= kKvKeyBytesMax &&
      std::all_of(key.begin(), key.end(), IsKeyChar))
    return {};
  return Fail(Code::kInvalidArgument, "kv key \"" + key.substr(0, kKvKeyBytesMax) +
                                          "\": expected 1 to " + std::to_string(kKvKeyBytesMax) +
                                          " of [A-Za-z0-9._-]");
}

bool TakeNumber(std::string_view* text, char end, uint64_t* number) {
  const auto [stop, error] = std::from_chars(text->data(), text->data() + text->size(), *number);
  if (error != std::errc() || stop == text->data() + text->size() || *stop != end) return false;
  text->remove_prefix(static_cast<size_t>(stop - text->data()) + 1);
  return true;
}

}  // namespace

uint64_t FileKv::SystemNow() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::system_clock::now().time_since_epoch())
                                   .count());
}

std::filesystem::path FileKv::FileOf(const std::string& backend, const std::string& key) const {
  return directory_ / backend / (key + kFileEnd);
}

std::mutex& FileKv::LockOf(const std::string& backend) {
  const std::lock_guard lock(mutex_);
  auto& entry = locks_[backend];
  if (!entry) entry = std::make_unique<std::mutex>();
  return *entry;
}

base::Result<KvValue> FileKv::ReadKey(const std::string& backend, const std::string& key) const {
  GANTRY_TRY(CheckKey(key));
  const auto file = FileOf(backend, key);
  auto content = base::ReadFile(file, kKvValueBytesMax + kHeaderBytesMax);
  if (!content && content.error().code == Code::kNotFound)
    return Fail(Code::kNotFound, "kv key \"" + key + "\" is not there");
  if (!content) return tl::unexpected(content.error());
  std::string_view rest = *content;
  KvValue value;
  uint64_t bytes = 0;
  if (!rest.starts_with(kMagic)) return Fail(Code::kDataLoss, file.string() + ": not a kv file");
  rest.remove_prefix(kMagic.size());
  if (!TakeNumber(&rest, ' ', &value.version) || !TakeNumber(&rest, '\n', &bytes) ||
      bytes != rest.size() || value.version == 0)
    return Fail(Code::kDataLoss, file.string() + ": a kv file that was damaged");
  value.value = rest;
  return value;
}

base::Result<KvValue> FileKv::Get(const std::string& backend, const std::string& key) {
  const std::lock_guard lock(LockOf(backend));
  return ReadKey(backend, key);
}

namespace {

base::Status Expect(const std::string& key, uint64_t version, uint64_t expected) {
  if (version == expected) return {};
  return Fail(Code::kAborted, "kv key \"" + key + "\": has version " + std::to_string(version) +
                                  ", expected " + std::to_string(expected));
}

}  // namespace

base::Result<uint64_t> FileKv::Put(const std::string& backend, const std::string& key,
                                   std::string_view value, uint64_t expected_version) {
  if (value.size() > kKvValueBytesMax)
    return Fail(Code::kInvalidArgument, "kv value of \"" + key.substr(0, kKvKeyBytesMax) +
                                            "\": " + std::to_string(value.size()) +
                                            " bytes, expected at most " +
                                            std::to_string(kKvValueBytesMax));
  const std::lock_guard lock(LockOf(backend));
  const auto current = ReadKey(backend, key);
  if (!current && current.error().code != Code::kNotFound) return tl::unexpected(current.error());
  const uint64_t version = current ? current->version : 0;
  GANTRY_TRY(Expect(key, version, expected_version));
  GANTRY_TRY(base::MakeDirectories(directory_ / backend, 0700));
  if (!current) {
    GANTRY_TRY_ASSIGN(const auto files, base::ListFiles(directory_ / backend));
    const auto keys = std::count_if(files.begin(), files.end(),
                                    [](const std::string& f) { return f.back() == kFileEnd; });
    if (static_cast<size_t>(keys) >= kKvKeysMax)
      return Fail(Code::kResourceExhausted, "kv of backend " + backend + " holds " +
                                                std::to_string(keys) + " keys, its limit");
  }
  const uint64_t next = std::max(version + 1, now_());
  std::string content(kMagic);
  content += std::to_string(next) + " " + std::to_string(value.size()) + "\n";
  content += value;
  GANTRY_TRY(base::WriteFileDurably(FileOf(backend, key), content, 0600));
  return next;
}

base::Status FileKv::Remove(const std::string& backend, const std::string& key,
                            uint64_t expected_version) {
  const std::lock_guard lock(LockOf(backend));
  const auto current = ReadKey(backend, key);
  if (!current && current.error().code != Code::kNotFound) return tl::unexpected(current.error());
  GANTRY_TRY(Expect(key, current ? current->version : 0, expected_version));
  if (!current) return {};
  return base::RemoveFileDurably(FileOf(backend, key));
}

base::Result<std::vector<std::string>> FileKv::Scan(const std::string& backend,
                                                    const std::string& prefix) {
  if (!prefix.empty()) GANTRY_TRY(CheckKey(prefix));
  const std::lock_guard lock(LockOf(backend));
  GANTRY_TRY_ASSIGN(const auto files, base::ListFiles(directory_ / backend));
  std::vector<std::string> keys;
  for (const auto& file : files)
    if (file.back() == kFileEnd && file.starts_with(prefix))
      keys.push_back(file.substr(0, file.size() - 1));
  std::sort(keys.begin(), keys.end());  // '=' sorts above some key characters
  return keys;
}

}  // namespace gantry::services
