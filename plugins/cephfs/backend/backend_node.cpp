// SPDX-License-Identifier: Apache-2.0
// The node's half of the CephFS backend: which client serves a volume, and what that client is told.
// Nothing to detach: what was made reachable ends with the mount.
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "plugins/cephfs/backend/backend.hpp"
#include "plugins/cephfs/context/ceph_csi.hpp"
#include "plugins/cephfs/datapath/table.hpp"
#include "plugins/cephfs/node/kernel_mount.hpp"
#include "plugins/cephfs/node/mount_flags.hpp"
#include "plugins/cephfs/node/node_key.hpp"
#include "plugins/common/mount_words.hpp"

namespace gantry::cephfs {
namespace {

namespace code = plugin::code;

// A data path's parameters beside those of datapath/options.hpp: how it gets its key.
constexpr const char* kSealedKey = "sealedKey";
constexpr const char* kHandle = "handle";
constexpr const char* kIncarnation = "incarnation";
constexpr const char* kUser = "user";

std::map<std::string, std::string> ParametersOf(const VolumeContext& volume, const NodeKey& key,
                                                const std::optional<PublishContext>& published,
                                                const std::string& handle, const MountFlags& flags,
                                                bool one_node) {
  std::map<std::string, std::string> parameters = {{"monitors", MonHost(volume.monitors)},
                                                   {"fsName", volume.fs_name},
                                                   {"path", volume.path},
                                                   {kUser, key.user},
                                                   {kHandle, handle},
                                                   {kIncarnation, volume.incarnation},
                                                   {"oneNode", one_node ? "true" : "false"},
                                                   {"takeOver", "true"},
                                                   {"clearsSetId", "true"}};
  if (published) parameters[kSealedKey] = published->sealed_key;
  if (!flags.ms_mode.empty()) parameters["msMode"] = flags.ms_mode;
  if (flags.timeout_seconds != 0)
    parameters["timeoutSeconds"] = std::to_string(flags.timeout_seconds);
  if (flags.writeback) parameters["cache"] = "writeback";
  return parameters;
}

// Such a volume's files are in one page cache alone.
bool IsOnOneNode(int32_t access_mode) {
  return access_mode == GANTRY_SINGLE_NODE_WRITER ||
         access_mode == GANTRY_SINGLE_NODE_READER_ONLY ||
         access_mode == GANTRY_SINGLE_NODE_SINGLE_WRITER ||
         access_mode == GANTRY_SINGLE_NODE_MULTI_WRITER;
}

// In the data path's process: the key by what attach has said and the secrets that the host keeps.
plugin::Result<std::string> KeyInDataPath(const gantry_datapath_host& host,
                                          const std::string& node_id,
                                          const gantry_map& parameters) {
  std::optional<PublishContext> published;
  if (const auto sealed = Find(parameters, kSealedKey); !sealed.empty())
    published = PublishContext{std::string(Find(parameters, kUser)), std::string(sealed), false};
  const SealedFor owner = {std::string(Find(parameters, kHandle)),
                           std::string(Find(parameters, kIncarnation)), node_id};
  auto key = NodeKeyOf(published, owner, [&](std::string_view name) {
    gantry_str value{};
    return host.secret(host.ctx, ToStr(name), &value) != 0 ? std::optional(View(value))
                                                           : std::nullopt;
  });
  if (!key) return tl::make_unexpected(key.error());
  return key->key.text();
}

}  // namespace

CephDataPath& CephfsBackend::DataPathOf(gantry_instance* instance) {
  return *gantry::BackendOf<CephfsBackend>(instance).data_path_;
}

const gantry_datapath* CephfsBackend::DataPath() { return CephDataPathTable<&DataPathOf>(); }

Status CephfsBackend::OpenDataPath(const Host& host, const gantry_create& request) {
  const auto* loop = host.Extension<gantry_datapath_host>(GANTRY_EXT_DATAPATH_HOST);
  if (loop == nullptr)
    return Refuse(code::kFailedPrecondition,
                  std::string("the host has no ") + GANTRY_EXT_DATAPATH_HOST);
  const std::string node_id = ToString(request.node_id);
  data_path_ = std::make_unique<CephDataPath>(
      *loop, DataPathOwner{owner_, node_id},
      [loop, node_id](const gantry_map& parameters) {
        return KeyInDataPath(*loop, node_id, parameters);
      },
      [host](int32_t level, std::string_view text) { host.Log(level, text); });
  return Ok();
}

Status CephfsBackend::Attach(Call& call, const gantry_attach& request) {
  const auto attributes = ToMap(request.context);
  const bool is_theirs = IsCephCsi(attributes);
  const auto volume = is_theirs ? ContextOfCephCsi(attributes) : DecodeVolumeContext(attributes);
  if (!volume) return ToStatus(plugin::Wrap(volume.error(), "volume_context"));
  bool read_only = volume->backing_snapshot;
  std::optional<PublishContext> published;
  if (is_theirs) {
    read_only = read_only || Find(request.publish_context, "readonly") == "true";
  } else if (request.publish_context.count > 0) {
    auto decoded = DecodePublishContext(ToMap(request.publish_context));
    if (!decoded) return ToStatus(plugin::Wrap(decoded.error(), "publish_context"));
    published = *std::move(decoded);
  }
  const std::string handle = ToString(request.handle);
  const auto key = NodeKeyOf(published, {handle, volume->incarnation, ToString(request.node_id)},
                             [&](std::string_view name) { return call.Secret(name); });
  if (!key) return ToStatus(key.error());

  const gantry_list& given = request.capability.mount_flags;
  std::vector<std::string_view> flags;
  for (size_t i = 0; i < given.count; ++i) flags.push_back(View(given.items[i]));
  const auto judged = JudgeMountFlags(flags);
  const bool several_write = request.capability.access_mode == GANTRY_MULTI_NODE_SINGLE_WRITER ||
                             request.capability.access_mode == GANTRY_MULTI_NODE_MULTI_WRITER;
  const bool one_node = IsOnOneNode(request.capability.access_mode);
  if (judged && judged->writeback && !one_node)
    return Refuse(code::kInvalidArgument,
                  "mount flag \"cache\": writeback is for volumes that one node uses; expected "
                  "writethrough with this access mode");
  gantry_source source{};
  source.kind = SourceKindOf(volume->mounter, several_write, judged.has_value());
  if (source.kind != GANTRY_SOURCE_FILESYSTEM && !judged) return ToStatus(judged.error());

  std::optional<KernelMount> kernel;
  std::vector<gantry_str> words;
  if (source.kind != GANTRY_SOURCE_USERSPACE) {
    const auto theirs = attributes.find("kernelMountOptions");
    if (is_theirs && theirs != attributes.end()) {
      flags.push_back(theirs->second);
      for (const auto option : plugin::SplitOptions(theirs->second)) words.push_back(ToStr(option));
    }
    auto made = MakeKernelMount(*volume, *key, flags);
    if (!made) return ToStatus(made.error());
    kernel = *std::move(made);
    for (const auto& option : kernel->options) words.push_back(ToStr(option));
    source.fs_type = ToStr("ceph");
    source.source = ToStr(kernel->source);
  }
  if (read_only) words.push_back(ToStr("ro"));
  source.options = {words.data(), words.size()};
  const auto parameters =
      ParametersOf(*volume, *key, published, handle, judged ? *judged : MountFlags(), one_node);
  const MapRef map(parameters);
  source.parameters = map.get();
  call.Emit(source);
  return Ok();
}

}  // namespace gantry::cephfs
