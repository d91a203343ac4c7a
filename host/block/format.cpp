// SPDX-License-Identifier: Apache-2.0
#include "host/block/format.hpp"

#include <sys/random.h>

#include <array>

#include "host/block/content.hpp"
#include "host/block/device.hpp"
#include "host/block/program.hpp"

namespace gantry::block {
namespace {

constexpr const char* kLabel = "gantry";

std::vector<std::string> Ext4Arguments(const FormatRequest& request) {
  std::vector<std::string> words = {"mkfs.ext4", "-q", "-F", "-U", request.uuid, "-L", kLabel};
  // Options come in one -E: a second one would replace the first (mke2fs(8)), so an administrator's
  // has to be the last of ours.
  words.insert(words.end(), {"-E", request.again ? "discard" : "nodiscard"});
  return words;
}

std::vector<std::string> XfsArguments(const FormatRequest& request) {
  std::vector<std::string> words = {"mkfs.xfs", "-q",  "-f", "-m", "uuid=" + request.uuid,
                                    "-L",       kLabel};
  if (!request.again) words.emplace_back("-K");
  return words;
}

std::vector<std::string> BtrfsArguments(const FormatRequest& request) {
  std::vector<std::string> words = {"mkfs.btrfs", "-q", "-f", "-U", request.uuid, "-L", kLabel};
  if (!request.again) words.emplace_back("--nodiscard");
  return words;
}

}  // namespace

std::string NewUuid() {
  std::array<unsigned char, 16> bytes{};
  while (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) continue;
  bytes[6] = static_cast<unsigned char>((bytes[6] & 0x0f) | 0x40);
  bytes[8] = static_cast<unsigned char>((bytes[8] & 0x3f) | 0x80);
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += kDigits[bytes[i] >> 4];
    text += kDigits[bytes[i] & 0x0f];
  }
  return text;
}

bool IsFilesystemType(std::string_view fs_type) {
  return fs_type == "ext4" || fs_type == "xfs" || fs_type == "btrfs";
}

std::vector<std::string> MkfsArguments(const FormatRequest& request, const std::string& device) {
  std::vector<std::string> words;
  if (request.fs_type == "ext4") words = Ext4Arguments(request);
  if (request.fs_type == "xfs") words = XfsArguments(request);
  if (request.fs_type == "btrfs") words = BtrfsArguments(request);
  words.insert(words.end(), request.options.begin(), request.options.end());
  words.push_back(device);
  return words;
}

base::Status Format(int device, const FormatRequest& request, base::TimePoint deadline) {
  if (!IsFilesystemType(request.fs_type))
    return base::Fail(base::Code::kInvalidArgument, "filesystem type \"" + request.fs_type +
                                                        "\": expected one of " +
                                                        std::string(kFilesystemTypes));
  GANTRY_TRY_ASSIGN(const std::string name, DeviceName(device));
  GANTRY_TRY(MustRun(MkfsArguments(request, "/dev/" + name), deadline));
  GANTRY_TRY(FlushDevice(device));
  GANTRY_TRY_ASSIGN(const Content content, Examine(device));
  if (content.kind == Content::Kind::kFilesystem && content.type == request.fs_type &&
      content.uuid == request.uuid)
    return {};
  return base::Fail(base::Code::kUnavailable,
                    name + " holds " + content.Describe() + " with UUID \"" + content.uuid +
                        "\" after mkfs." + request.fs_type + ": expected " + request.uuid);
}

}  // namespace gantry::block
