// SPDX-License-Identifier: Apache-2.0
// The node's half of the NFS backend: which client serves a volume, and what that client is told.
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "plugins/common/sub_dir.hpp"
#include "plugins/nfs/backend.hpp"
#include "plugins/nfs/kernel_mount.hpp"
#include "plugins/nfs/mount_flags.hpp"

namespace gantry::nfs {

using plugin::Result;
namespace code = plugin::code;

// The share and the directory on it that are to be mounted. What has no `format` was not made here:
// without a directory it is the share itself.
Result<std::pair<const ShareConfig*, plugin::Path>> NfsBackend::PlaceOf(
    const std::string& handle, const std::map<std::string, std::string>& context) const {
  const bool is_ours = context.contains("format");
  if (!is_ours) {
    if (const auto foreign = ForeignOf(handle, context)) {
      plugin::Path path;
      if (!foreign->sub_dir.empty()) {
        auto parsed = plugin::ParseSubDir(foreign->sub_dir);
        if (!parsed) return tl::make_unexpected(plugin::Wrap(parsed.error(), "volume_context"));
        path = std::move(*parsed);
      }
      return std::pair(foreign->share, std::move(path));
    }
  }
  const auto share = FindShare(config_, context);
  if (!share) return tl::make_unexpected(plugin::Wrap(share.error(), "volume_context"));
  const auto sub_dir = context.find("subDir");
  if (sub_dir == context.end()) {
    return plugin::Fail(code::kInvalidArgument,
                        "volume_context[\"subDir\"] is missing; expected the "
                        "volume's directory below the share");
  }
  auto path = plugin::ParseSubDir(sub_dir->second);
  if (!path) return tl::make_unexpected(plugin::Wrap(path.error(), "volume_context"));
  return std::pair(*share, std::move(*path));
}

Status NfsBackend::Attach(Call& call, const gantry_attach& request) {
  const auto context = ToMap(request.context);
  if (const auto format = context.find("format");
      format != context.end() && format->second != std::to_string(kContextFormat)) {
    return Refuse(code::kInvalidArgument, "volume_context[\"format\"] is \"" + format->second +
                                              "\"; expected \"" + std::to_string(kContextFormat) +
                                              "\"");
  }
  const auto place = PlaceOf(ToString(request.handle), context);
  if (!place) return ToStatus(place.error());
  const ShareConfig* const share = place->first;

  auto mounter = Mounter::kUserspace;
  if (const auto named = context.find("mounter"); named != context.end()) {
    const auto parsed = ParseMounter(named->second);
    if (!parsed) {
      return Refuse(code::kInvalidArgument, "volume_context[\"mounter\"] is \"" + named->second +
                                                "\"; expected userspace, kernel or auto");
    }
    mounter = *parsed;
  }
  bool keeps_writes = false;
  if (const auto asked = context.find(kUncommittedWrites); asked != context.end()) {
    const auto parsed = ParseTrueOrFalse(asked->second);
    if (!parsed) {
      return Refuse(code::kInvalidArgument, "volume_context[\"" + asked->first + "\"] is \"" +
                                                asked->second + "\"; expected true or false");
    }
    keeps_writes = *parsed;
  }
  const auto recorded = context.find("mountOptions");
  const std::string options = recorded == context.end() ? "" : recorded->second;
  const gantry_list& given = request.capability.mount_flags;
  std::vector<std::string_view> flags;
  for (size_t i = 0; i < given.count; ++i) flags.push_back(View(given.items[i]));

  const auto judged = JudgeMountFlags(flags, *share, config_.reserved_ports);
  const bool several_write = request.capability.access_mode == GANTRY_MULTI_NODE_SINGLE_WRITER ||
                             request.capability.access_mode == GANTRY_MULTI_NODE_MULTI_WRITER;
  gantry_source source{};
  source.kind = SourceKindOf(mounter, several_write, judged.has_value());
  if (source.kind != GANTRY_SOURCE_FILESYSTEM && !judged) return ToStatus(judged.error());

  const KernelMount kernel = MakeKernelMount(*share, place->second, options, flags);
  std::vector<gantry_str> words;
  words.reserve(kernel.options.size());
  for (const auto& option : kernel.options) words.push_back(ToStr(option));
  source.fs_type = ToStr(kernel.fs_type);
  source.source = ToStr(kernel.source);
  source.options = {words.data(), words.size()};

  std::map<std::string, std::string> parameters = {
      {"server", share->server},
      {"share", share->share},
      {"path", plugin::Join(place->second)},
      {"port", std::to_string(share->port)},
      {"mountPort", std::to_string(share->mount_port)},
      {"reservedPorts", config_.reserved_ports ? "true" : "false"},
      {"takeOver", "true"},
      {"removedOpenFiles", "hide"},
      {"locks", several_write && !(judged && judged->local_locks) ? "none" : "local"},
      {"writers", several_write ? "several" : "one"},
      {"timeoutSeconds", std::to_string(judged ? judged->soft_timeout_seconds : 0)},
      {"timeoutError", judged && judged->is_softerr ? "ETIMEDOUT" : "EIO"}};
  // What is committed later may be written again later, over what another node wrote meanwhile.
  if (keeps_writes && !several_write) parameters["commitsAtClose"] = "true";
  const MapRef map(parameters);
  source.parameters = map.get();
  call.Emit(source);
  return Ok();
}

}  // namespace gantry::nfs
