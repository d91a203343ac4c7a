// SPDX-License-Identifier: Apache-2.0
#include "host/datapath/identity.hpp"

#include <charconv>
#include <string>

namespace gantry::datapath {
namespace {

// 4294967295 means "unchanged" to chown(2) and is nobody's id.
std::optional<uint32_t> ParseId(std::string_view text) {
  uint32_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc{} || end != text.data() + text.size() || id == UINT32_MAX)
    return std::nullopt;
  return id;
}

}  // namespace

base::Result<Identity> Identity::Parse(std::string_view text, std::string_view mount_group) {
  Identity identity;
  constexpr std::string_view kFixed = "fixed(";
  if (text.starts_with(kFixed) && text.ends_with(')')) {
    const auto inner = text.substr(kFixed.size(), text.size() - kFixed.size() - 1);
    const size_t comma = inner.find(',');
    if (comma != std::string_view::npos) {
      const auto uid = ParseId(inner.substr(0, comma));
      const auto gid = ParseId(inner.substr(comma + 1));
      if (uid && gid) identity.fixed_ = Ids{*uid, *gid};
    }
  }
  if (!identity.fixed_ && !text.empty() && text != "caller")
    return base::Fail(
        base::Code::kInvalidArgument,
        "identity is \"" + std::string(text) + "\", expected \"caller\" or \"fixed(uid,gid)\"");
  if (mount_group.empty()) return identity;
  const auto group = ParseId(mount_group);
  if (!group)
    return base::Fail(base::Code::kInvalidArgument,
                      "mount_group is \"" + std::string(mount_group) + "\", expected a gid");
  identity.groups_.push_back(*group);
  return identity;
}

}  // namespace gantry::datapath
