// SPDX-License-Identifier: Apache-2.0
#include "host/services/mounts.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

#include "host/base/file.hpp"

namespace gantry::services {
namespace {

constexpr size_t kMountInfoBytesMax = 64U << 20;

// The kernel writes space, tab, newline, backslash (and '#' in the source) as \ooo (seq_path).
std::string Unescape(std::string_view field) {
  std::string out;
  out.reserve(field.size());
  const auto octal = [](char c) { return c >= '0' && c <= '7'; };
  for (size_t i = 0; i < field.size(); ++i) {
    if (field[i] == '\\' && i + 3 < field.size() && octal(field[i + 1]) && octal(field[i + 2]) &&
        octal(field[i + 3])) {
      out.push_back(static_cast<char>(((field[i + 1] - '0') << 6) | ((field[i + 2] - '0') << 3) |
                                      (field[i + 3] - '0')));
      i += 3;
    } else {
      out.push_back(field[i]);
    }
  }
  return out;
}

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (size_t start = 0;;) {
    const size_t end = text.find(separator, start);
    parts.push_back(text.substr(start, end - start));
    if (end == std::string_view::npos) return parts;
    start = end + 1;
  }
}

std::vector<std::string> SplitOptions(std::string_view field) {
  std::vector<std::string> options;
  for (const auto part : Split(field, ',')) options.push_back(Unescape(part));
  return options;
}

bool ParseNumber(std::string_view text, int64_t* number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  return error == std::errc() && end == text.data() + text.size();
}

// An empty source is an empty field between two spaces, which is why this splits at every space.
std::optional<MountEntry> ParseLine(std::string_view line) {
  const auto fields = Split(line, ' ');
  constexpr size_t kFirstOptionalField = 6;
  constexpr size_t kFieldsAfterSeparator = 3;
  if (fields.size() < kFirstOptionalField) return std::nullopt;
  const auto separator = std::find(fields.begin() + kFirstOptionalField, fields.end(), "-");
  if (fields.end() - separator != static_cast<ptrdiff_t>(kFieldsAfterSeparator) + 1)
    return std::nullopt;
  MountEntry entry;
  if (!ParseNumber(fields[0], &entry.mount_id) || !ParseNumber(fields[1], &entry.parent_id))
    return std::nullopt;
  entry.device = fields[2];
  entry.root = Unescape(fields[3]);
  entry.mount_point = Unescape(fields[4]);
  entry.options = SplitOptions(fields[5]);
  entry.fs_type = Unescape(separator[1]);
  entry.source = Unescape(separator[2]);
  entry.super_options = SplitOptions(separator[3]);
  return entry;
}

bool Contains(const std::vector<std::string>& options, std::string_view word) {
  return std::find(options.begin(), options.end(), word) != options.end();
}

}  // namespace

std::string MountEntry::Unsafe() const {
  std::string lacking;
  for (const char* word : {"nosuid", "nodev"})
    if (!Contains(options, word)) lacking += (lacking.empty() ? "" : " and ") + std::string(word);
  return lacking;
}

bool SameFilesystem(const MountEntry& a, const MountEntry& b) {
  return a.device == b.device && a.root == b.root && a.fs_type == b.fs_type && a.source == b.source;
}

bool SameVolume(const MountEntry& a, const MountEntry& b) {
  return SameFilesystem(a, b) ||
         (!a.IsFuse() && !FaultDomain(a.fs_type, a.source).empty() && a.root == b.root &&
          a.fs_type == b.fs_type && a.source == b.source);
}

std::string FaultDomain(std::string_view fs_type, std::string_view source) {
  if (fs_type == "nfs" || fs_type == "nfs4" || fs_type == "ceph")
    return std::string(source.substr(0, source.find(":/")));
  if ((fs_type == "cifs" || fs_type == "smb3") && source.starts_with("//"))
    return std::string(source.substr(2, source.find('/', 2) - 2));
  if (fs_type == "fuse.gantry") return std::string(source.substr(0, source.find(':')));
  return {};
}

bool MountEntry::ReadOnly() const {
  return Contains(options, "ro") || Contains(super_options, "ro");
}

base::Result<std::vector<MountEntry>> ParseMountInfo(std::string_view text) {
  std::vector<MountEntry> mounts;
  for (const auto line : Split(text, '\n')) {
    if (line.empty()) continue;
    auto entry = ParseLine(line);
    if (!entry)
      return base::Fail(base::Code::kInternal, "mountinfo: line not understood: \"" +
                                                   std::string(line.substr(0, 256)) + "\"");
    mounts.push_back(std::move(*entry));
  }
  return mounts;
}

base::Result<std::vector<MountEntry>> ReadMountInfo() {
  // thread-self: a mount namespace belongs to a thread.
  GANTRY_TRY_ASSIGN(const std::string text,
                    base::ReadFile("/proc/thread-self/mountinfo", kMountInfoBytesMax));
  return ParseMountInfo(text);
}

std::vector<MountEntry> MountsAt(const std::vector<MountEntry>& mounts, std::string_view path) {
  std::vector<MountEntry> found;
  for (const auto& mount : mounts)
    if (mount.mount_point == path) found.push_back(mount);
  // A mount stacked on another is its child, so the order is that of the chain of parents. A
  // parent's line may come after its child's when mounts were moved.
  std::vector<MountEntry> stack;
  int64_t below = 0;
  const auto is_lowest = [&found](const MountEntry& mount) {
    return std::none_of(found.begin(), found.end(), [&mount](const MountEntry& other) {
      return other.mount_id == mount.parent_id && other.mount_id != mount.mount_id;
    });
  };
  auto next = std::find_if(found.begin(), found.end(), is_lowest);
  while (next != found.end()) {
    below = next->mount_id;
    stack.push_back(std::move(*next));
    found.erase(next);
    next = std::find_if(found.begin(), found.end(),
                        [below](const MountEntry& mount) { return mount.parent_id == below; });
  }
  return stack;
}

std::vector<MountEntry> MountsBelow(const std::vector<MountEntry>& mounts, std::string_view path) {
  const std::string prefix = std::string(path) + "/";
  std::vector<MountEntry> found;
  for (const auto& mount : mounts)
    if (mount.mount_point.starts_with(prefix)) found.push_back(mount);
  return found;
}

}  // namespace gantry::services
