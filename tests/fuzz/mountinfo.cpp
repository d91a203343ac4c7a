// SPDX-License-Identifier: Apache-2.0
// mountinfo, whose mount points and sources are chosen by whoever mounts.
#include "host/services/mounts.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

using namespace gantry;  // NOLINT(google-build-using-namespace)

// As seq_path does, the other way round.
std::string Escape(const std::string& text) {
  std::string out;
  for (const char c : text) {
    constexpr std::string_view kSpecial = " \t\n\\,";
    if (kSpecial.find(c) == std::string_view::npos) {
      out += c;
      continue;
    }
    const auto value = static_cast<unsigned char>(c);
    out += '\\';
    for (const int shift : {6, 3, 0}) out += static_cast<char>('0' + ((value >> shift) & 7));
  }
  return out;
}

std::string Join(const std::vector<std::string>& words) {
  std::string joined;
  for (size_t i = 0; i < words.size(); ++i) joined += (i == 0 ? "" : ",") + Escape(words[i]);
  return joined;
}

std::string Format(const services::MountEntry& mount) {
  return std::to_string(mount.mount_id) + " " + std::to_string(mount.parent_id) + " " +
         mount.device + " " + Escape(mount.root) + " " + Escape(mount.mount_point) + " " +
         Join(mount.options) + " shared:1 - " + Escape(mount.fs_type) + " " + Escape(mount.source) +
         " " + Join(mount.super_options) + "\n";
}

bool AreSame(const services::MountEntry& a, const services::MountEntry& b) {
  return a.mount_id == b.mount_id && a.parent_id == b.parent_id && a.device == b.device &&
         a.root == b.root && a.mount_point == b.mount_point && a.options == b.options &&
         a.fs_type == b.fs_type && a.source == b.source && a.super_options == b.super_options;
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto mounts = services::ParseMountInfo({reinterpret_cast<const char*>(data), size});
  if (!mounts) return 0;
  std::string text;
  for (const auto& mount : *mounts) text += Format(mount);
  const auto again = services::ParseMountInfo(text);
  GANTRY_FUZZ_EXPECT(again && again->size() == mounts->size(), text);
  for (size_t i = 0; i < mounts->size(); ++i) {
    const auto& mount = (*mounts)[i];
    GANTRY_FUZZ_EXPECT(AreSame((*again)[i], mount), text);
    for (const auto& found : services::MountsAt(*mounts, mount.mount_point))
      GANTRY_FUZZ_EXPECT(found.mount_point == mount.mount_point);
    for (const auto& found : services::MountsBelow(*mounts, mount.mount_point))
      GANTRY_FUZZ_EXPECT(found.mount_point.starts_with(mount.mount_point + "/"));
    (void)mount.Unsafe();
    (void)mount.ReadOnly();
  }
  return 0;
}
