// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/backend.hpp"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <optional>
#include <stdexcept>
#include <utility>

#include "plugins/common/sub_dir.hpp"
#include "plugins/common/trash.hpp"
#include "plugins/nfs/datapath/table.hpp"
#include "plugins/nfs/foreign_volumes.hpp"

namespace gantry::nfs {
namespace {

using plugin::Presence;
using plugin::Record;
using plugin::Result;
using plugin::Volumes;
using Records = Share::Records;
namespace code = plugin::code;

constexpr std::string_view kTrashTask = "trash";
constexpr size_t kShareIdBytes = 8;
constexpr size_t kKeyBytes = 32;

bool IsHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

// The directory of a volume whose class names none: the volume's own name, where people look for it.
Result<plugin::Path> DefaultPath(const std::string& name, const std::string& handle) {
  auto path = plugin::ParseSubDir(name);
  if (path && path->size() == 1) return path;
  return plugin::ParseSubDir(handle);
}

// ${pvc.metadata.name} and its like, of what the CO says about its objects.
Result<plugin::Path> PathOf(const ClassParameters& parameters, const gantry_map& hints,
                            const std::string& name, const std::string& handle) {
  if (!parameters.sub_dir) return DefaultPath(name, handle);
  const auto value = [&](std::string_view variable) -> std::optional<std::string> {
    std::string_view hint;
    if (variable == "pvc.metadata.name") hint = "pvc/name";
    if (variable == "pvc.metadata.namespace") hint = "pvc/namespace";
    if (variable == "pv.metadata.name") hint = "pv/name";
    const std::string_view found = hint.empty() ? hint : Find(hints, hint);
    if (found.empty()) return std::nullopt;
    return std::string(found);
  };
  auto expanded = plugin::ExpandTemplate(*parameters.sub_dir, value);
  if (!expanded) {
    return tl::make_unexpected(plugin::Wrap(std::move(expanded).error(), "parameters[\"subDir\"]"));
  }
  return plugin::ParseSubDir(*expanded);
}

}  // namespace

bool IsHandle(std::string_view handle) {
  return handle.size() == kShareIdBytes + 1 + kKeyBytes && handle[kShareIdBytes] == '-' &&
         IsHex(handle.substr(0, kShareIdBytes)) && IsHex(handle.substr(kShareIdBytes + 1));
}

std::string Nonce() {
  std::array<unsigned char, 16> bytes{};
  if (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    throw std::runtime_error("getrandom gave no bytes");
  }
  std::string nonce;
  for (const unsigned char byte : bytes) {
    nonce += "0123456789abcdef"[byte >> 4];
    nonce += "0123456789abcdef"[byte & 0xf];
  }
  return nonce;
}

Limits LimitsOf(const Call& call) {
  Limits limits;
  limits.deadline = call.deadline();
  limits.cancelled = [&call] { return call.Cancelled(); };
  return limits;
}

Made<NfsBackend> NfsBackend::Create(const Host& host, const gantry_create& request) {
  if (request.record_format > plugin::kRecordFormat) {
    return Refuse(code::kInvalidArgument,
                  "record_format is " + std::to_string(request.record_format) + "; expected 0 or " +
                      std::to_string(plugin::kRecordFormat));
  }
  if (request.context_format > kContextFormat) {
    return Refuse(code::kInvalidArgument, "context_format is " +
                                              std::to_string(request.context_format) +
                                              "; expected 0 or " + std::to_string(kContextFormat));
  }
  auto config = ParseConfig(View(request.config_json));
  if (!config) return ToStatus(config.error());
  auto credentials = Credentials::Sys(config->uid, config->gid, {});
  if (!credentials) return ToStatus(ToError(credentials.error()));
  std::unique_ptr<NfsBackend> backend(
      new NfsBackend(std::move(*config), ToString(request.owner), *credentials,
                     request.record_format == 0 ? plugin::kRecordFormat : request.record_format));
  if ((request.roles & GANTRY_ROLE_DATAPATH) != 0) {
    const auto* loop = host.Extension<gantry_datapath_host>(GANTRY_EXT_DATAPATH_HOST);
    if (loop == nullptr) {
      return Refuse(code::kFailedPrecondition,
                    std::string("the host has no ") + GANTRY_EXT_DATAPATH_HOST);
    }
    backend->data_path_ = std::make_unique<NfsDataPath>(
        *loop, [host](int32_t level, std::string_view text) { host.Log(level, text); });
  }
  return backend;
}

NfsDataPath& NfsBackend::DataPathOf(gantry_instance* instance) {
  return *gantry::BackendOf<NfsBackend>(instance).data_path_;
}

const gantry_datapath* NfsBackend::DataPath() { return NfsDataPathTable<&DataPathOf>(); }

bool NfsBackend::Offers(std::string_view extension) const {
  return extension != GANTRY_EXT_DATAPATH || data_path_ != nullptr;
}

NfsBackend::NfsBackend(Config config, std::string owner, const Credentials& credentials,
                       uint32_t record_format)
    : config_(std::move(config)),
      owner_(std::move(owner)),
      copies_(config_, owner_, record_format) {
  for (const auto& share : config_.shares) {
    shares_.push_back(std::make_unique<Share>(config_, share, credentials));
  }
}

// Whether a server answers is its volumes' business: the backend serves all of them.
Status NfsBackend::Probe(Call&) { return Ok(); }

Share* NfsBackend::ShareOf(std::string_view handle) const {
  const auto found = std::find_if(shares_.begin(), shares_.end(), [&](const auto& share) {
    return handle.starts_with(share->config().id + "-");
  });
  return found == shares_.end() ? nullptr : found->get();
}

Status NfsBackend::UseFormats(Call&, const gantry_formats& request) {
  copies_.UseFormat(request.record_format);
  return Ok();
}

Share& NfsBackend::ShareOf(const ShareConfig& config) const { return *ShareOf(config.id + "-"); }

Result<Share*> NfsBackend::NeedShareOf(std::string_view handle) const {
  Share* share = IsHandle(handle) ? ShareOf(handle) : nullptr;
  if (share != nullptr) return share;
  return plugin::Fail(code::kNotFound, "there is no volume or snapshot " + std::string(handle) +
                                           " on a configured share");
}

std::optional<ForeignVolume> NfsBackend::ForeignOf(
    std::string_view id, const std::map<std::string, std::string>& context) const {
  if (IsHandle(id)) return std::nullopt;
  return FindForeign(config_, id, context);
}

gantry_str NfsBackend::Domain(const gantry_domain_query& query) const {
  if (const Share* share = ShareOf(View(query.handle))) return ToStr(share->config().domain);
  if (const auto foreign = ForeignOf(View(query.handle), {})) {
    return ToStr(foreign->share->domain);
  }
  const std::string_view server = Find(query.parameters, "server");
  const std::string_view path = Find(query.parameters, "share");
  const ShareConfig* found = nullptr;
  for (const auto& share : config_.shares) {
    if (!server.empty() && share.server != server) continue;
    if (!path.empty() && share.share != path) continue;
    // What leaves open which share it means is refused without asking a server.
    if (found != nullptr && found->domain != share.domain) return {};
    found = &share;
  }
  return found == nullptr ? gantry_str{} : ToStr(found->domain);
}

std::map<std::string, std::string> NfsBackend::ContextOf(const Share& share,
                                                         const Record& record) const {
  const ShareConfig& config = share.config();
  std::map<std::string, std::string> context = {{"format", std::to_string(kContextFormat)},
                                                {"server", config.server},
                                                {"share", config.share},
                                                {"subDir", plugin::Join(record.path)}};
  if (config.port != 0) context["port"] = std::to_string(config.port);
  if (config.mount_port != 0) context["mountPort"] = std::to_string(config.mount_port);
  for (const auto* parameters : {&record.parameters, &record.mutable_parameters}) {
    for (const char* key : {"mountOptions", "mounter", kUncommittedWrites}) {
      const auto found = parameters->find(key);
      if (found != parameters->end()) context[key] = found->second;
    }
  }
  return context;
}

bool NfsBackend::EmitVolume(Call& call, const Share& share, const Record& record,
                            Presence presence) const {
  const auto context = ContextOf(share, record);
  const MapRef map(context);
  std::string message;
  gantry_volume volume{};
  volume.handle = ToStr(record.handle);
  volume.capacity_bytes = record.capacity_bytes;
  volume.context = map.get();
  if (record.source) {
    volume.content_kind = record.source->kind == plugin::CopySource::Kind::kVolume
                              ? GANTRY_CONTENT_VOLUME
                              : GANTRY_CONTENT_SNAPSHOT;
    volume.content_handle = ToStr(record.source->handle);
  }
  volume.condition = GANTRY_CONDITION_NORMAL;
  if (presence != Presence::kThere) {
    volume.condition = GANTRY_CONDITION_ABNORMAL;
    message = "the directory " + plugin::Join(record.path) + " on " + share.config().server + ":" +
              share.config().share +
              (presence == Presence::kMissing ? " is missing" : " is not the one that was made");
  }
  volume.condition_message = ToStr(message);
  return call.Emit(volume);
}

void NfsBackend::AskForTrash(Call& call, const Share& share) const {
  gantry_task task{};
  task.kind = ToStr(kTrashTask);
  task.key = ToStr(share.config().id);
  task.after_ms = kTrashDelayMs;
  call.Emit(task);
}

// What the new volume is to be a copy of. It is copied on the server, so both are on one share, which
// parameters that name none then mean.
Result<std::optional<plugin::CopySource>> NfsBackend::SourceOf(
    const gantry_create_volume& request, std::map<std::string, std::string>* parameters) const {
  plugin::CopySource source;
  source.handle = ToString(request.content_handle);
  switch (request.content_kind) {
    case GANTRY_CONTENT_EMPTY:
      return std::nullopt;
    case GANTRY_CONTENT_VOLUME:
      source.kind = plugin::CopySource::Kind::kVolume;
      break;
    case GANTRY_CONTENT_SNAPSHOT:
      source.kind = plugin::CopySource::Kind::kSnapshot;
      break;
    default:
      return plugin::Fail(code::kInvalidArgument, "volume_content_source is of the unknown kind " +
                                                      std::to_string(request.content_kind));
  }
  GANTRY_PLUGIN_TRY_ASSIGN(const Share* share, NeedShareOf(source.handle));
  if (!parameters->contains("server") && !parameters->contains("share")) {
    (*parameters)["server"] = share->config().server;
    (*parameters)["share"] = share->config().share;
  }
  return source;
}

Status NfsBackend::CreateVolume(Call& call, const gantry_create_volume& request) {
  auto given = ToMap(request.parameters);
  const auto source = SourceOf(request, &given);
  if (!source) return ToStatus(source.error());
  const auto parameters = ParseParameters(config_, given, ToMap(request.mutable_parameters));
  if (!parameters) return ToStatus(parameters.error());

  Share& share = ShareOf(*parameters->share);
  if (*source && ShareOf((*source)->handle) != &share) {
    return Refuse(code::kInvalidArgument, "volume_content_source: " + (*source)->handle +
                                              " is on another share than the new volume, " +
                                              share.config().server + ":" + share.config().share +
                                              "; expected one on the same");
  }
  plugin::VolumeSpec spec;
  spec.handle = share.config().id + "-" + ToString(request.key);
  spec.name = ToString(request.name);
  spec.owner = owner_;
  spec.required_bytes = request.required_bytes;
  spec.limit_bytes = request.limit_bytes;
  spec.path = PathOf(*parameters, request.hints, spec.name, spec.handle);
  spec.disposal = parameters->disposal;
  spec.ownership = {parameters->mode.value_or(config_.default_mode), parameters->uid,
                    parameters->gid};
  spec.parameters = parameters->durable;
  spec.mutable_parameters = parameters->mutable_values;
  spec.source = *source;
  if (!IsHandle(spec.handle)) {
    return Refuse(code::kInvalidArgument,
                  "key is \"" + ToString(request.key) + "\"; expected 32 hex digits");
  }
  if (spec.source) {
    if (auto failed = copies_.TakeFailure(Realm::kVolumes, spec.handle)) return ToStatus(*failed);
  }
  // A request that cannot become a volume touches no share, unless it may be a repeated one.
  const Records records = spec.path ? Records::kMake : Records::kOnlyIfThere;
  auto record = share.Run<std::optional<Record>>(
      LimitsOf(call), records, std::nullopt,
      [&](plugin::Storage& storage, const plugin::Layout& layout) -> Result<std::optional<Record>> {
        if (spec.source) GANTRY_PLUGIN_TRY(copies_.LookForSource(storage, layout, &spec));
        return copies_.Open(storage, layout).Create(spec);
      });
  if (!record) {
    AskForTrash(call, share);  // where the record is that had been begun
    return ToStatus(record.error());
  }
  if (!*record) return ToStatus(spec.path.error());
  if ((*record)->state == plugin::RecordState::kCreating) {
    record = copies_.Await(call, share, Realm::kVolumes, **record);
    if (!record) return ToStatus(record.error());
  }
  EmitVolume(call, share, **record, Presence::kThere);
  return Ok();
}

Status NfsBackend::DeleteVolume(Call& call, const gantry_volume_ref& request) {
  const std::string handle = ToString(request.handle);
  if (const auto foreign = ForeignOf(handle, {})) {
    Share& share = ShareOf(*foreign->share);
    if (const ShareConfig* other = OverlappingShare(config_, *foreign)) {
      return Refuse(code::kFailedPrecondition, "volume " + handle + " and the configured share " +
                                                   other->server + ":" + other->share +
                                                   " overlap; it is not deleted");
    }
    const auto deleted = DeleteForeign(share, LimitsOf(call), *foreign, handle, owner_, Nonce);
    if (!deleted) return ToStatus(deleted.error());
    return AfterDelete(call, share, *deleted);
  }
  if (!IsHandle(handle)) return Ok();  // None of ours ever looked like that.
  Share* share = ShareOf(handle);
  if (share == nullptr) {
    return Refuse(code::kFailedPrecondition,
                  "volume " + handle + " is on a share that is not configured any more");
  }
  const auto deleted = share->Run<std::optional<plugin::DeletedVolume>>(
      LimitsOf(call), Records::kOnlyIfThere, std::nullopt,
      [&](plugin::Storage& storage,
          const plugin::Layout& layout) -> Result<std::optional<plugin::DeletedVolume>> {
        return copies_.Open(storage, layout).Delete(handle);
      });
  if (!deleted) return ToStatus(deleted.error());
  if (!*deleted) return Ok();
  return AfterDelete(call, *share, **deleted);
}

Status NfsBackend::AfterDelete(Call& call, const Share& share,
                               const plugin::DeletedVolume& deleted) const {
  if (!deleted.left.empty()) call.host().Log(GANTRY_LOG_WARNING, deleted.left, call.id());
  AskForTrash(call, share);
  return Ok();
}

// Where it leads is told by its id and attributes alone: whether it is there is asked later.
Status NfsBackend::RecognizeVolume(Call&, const gantry_volume_ref& request) {
  const std::string id = ToString(request.handle);
  if (ForeignOf(id, ToMap(request.context))) return Ok();
  // Else its deletion would go well, and its directory stay for ever.
  if (const auto foreign = ParseForeignId(id); foreign && id.find('#') != std::string::npos) {
    return Refuse(code::kFailedPrecondition, id + " looks like a volume of csi-driver-nfs on " +
                                                 foreign->server + ":/" + foreign->share +
                                                 ", which is no configured share");
  }
  return Refuse(code::kNotFound, id + " is on no configured share");
}

Status NfsBackend::GetVolume(Call& call, const gantry_volume_ref& request) {
  const std::string handle = ToString(request.handle);
  if (const auto foreign = ForeignOf(handle, ToMap(request.context))) {
    return EmitForeign(call, *foreign, handle, 0);
  }
  const auto share = NeedShareOf(handle);
  if (!share) return ToStatus(share.error());
  using Found = std::optional<std::pair<Record, Presence>>;
  const auto found = (*share)->Run<Found>(
      LimitsOf(call), Records::kOnlyIfThere, std::nullopt,
      [&](plugin::Storage& storage, const plugin::Layout& layout) -> Result<Found> {
        Volumes volumes = copies_.Open(storage, layout);
        GANTRY_PLUGIN_TRY_ASSIGN(Record record, volumes.Get(handle));
        GANTRY_PLUGIN_TRY_ASSIGN(const Presence presence, volumes.Look(record));
        return std::pair(std::move(record), presence);
      });
  if (!found) return ToStatus(found.error());
  if (!*found) return Refuse(code::kNotFound, "there is no volume " + handle);
  EmitVolume(call, **share, (*found)->first, (*found)->second);
  return Ok();
}

Status NfsBackend::ListVolumes(Call& call, const gantry_list_volumes& request) {
  const std::string after = ToString(request.after);
  size_t emitted = 0;
  bool more = true;
  for (const auto& share : shares_) {
    if (!more) break;
    // All handles of a share are between its id and the next one's.
    if (after.substr(0, kShareIdBytes) > share->config().id) continue;
    const auto listed = share->Run<bool>(
        LimitsOf(call), Records::kOnlyIfThere, true,
        [&](plugin::Storage& storage, const plugin::Layout& layout) -> Result<bool> {
          Volumes volumes = copies_.Open(storage, layout);
          std::optional<plugin::Error> failed;
          GANTRY_PLUGIN_TRY(volumes.List(after, [&](const Record& record) {
            const auto presence = volumes.Look(record);
            if (!presence) {
              failed = presence.error();
              return false;
            }
            more = EmitVolume(call, *share, record, *presence) && ++emitted != request.max_entries;
            return more;
          }));
          if (failed) return tl::make_unexpected(*failed);
          return true;
        });
    if (!listed) return ToStatus(listed.error());
  }
  return Ok();
}

Status NfsBackend::GetCapacity(Call& call, const gantry_get_capacity& request) {
  const auto given = ToMap(request.parameters);
  std::vector<Share*> asked;
  if (given.contains("server") || given.contains("share") || shares_.size() == 1) {
    const auto parameters = ParseParameters(config_, given);
    if (!parameters) return ToStatus(parameters.error());
    asked.push_back(&ShareOf(*parameters->share));
  } else {
    for (const auto& share : shares_) asked.push_back(share.get());
  }
  // Without a share: what the roomiest one has, since a volume lies on one.
  uint64_t available = 0;
  for (Share* share : asked) {
    const auto bytes = share->AvailableBytes(LimitsOf(call));
    if (!bytes) return ToStatus(bytes.error());
    available = std::max(available, *bytes);
  }
  gantry_capacity capacity{};
  capacity.available_bytes = available;
  call.Emit(capacity);
  return Ok();
}

// Without a record no size is kept: one that is asked for is what the CO has on paper, as it was.
Status NfsBackend::EmitForeign(Call& call, const ForeignVolume& foreign, const std::string& id,
                               uint64_t bytes) const {
  const auto looked = LookAtForeign(ShareOf(*foreign.share), LimitsOf(call), foreign);
  if (!looked) return ToStatus(looked.error());
  const std::string handle = ForeignHandle(foreign, id);
  gantry_volume volume{};
  volume.handle = ToStr(handle);
  volume.capacity_bytes = bytes;
  volume.condition = GANTRY_CONDITION_NORMAL;
  call.Emit(volume);
  return Ok();
}

Status NfsBackend::ExpandVolume(Call& call, const gantry_expand_volume& request) {
  const std::string handle = ToString(request.handle);
  if (const auto foreign = ForeignOf(handle, {})) {
    return EmitForeign(call, *foreign, handle,
                       request.required_bytes > 0 ? request.required_bytes : request.limit_bytes);
  }
  const auto share = NeedShareOf(handle);
  if (!share) return ToStatus(share.error());
  const auto record = (*share)->Run<std::optional<Record>>(
      LimitsOf(call), Records::kOnlyIfThere, std::nullopt,
      [&](plugin::Storage& storage, const plugin::Layout& layout) -> Result<std::optional<Record>> {
        return copies_.Open(storage, layout)
            .Expand(handle, request.required_bytes, request.limit_bytes);
      });
  if (!record) return ToStatus(record.error());
  if (!*record) return Refuse(code::kNotFound, "there is no volume " + handle);
  EmitVolume(call, **share, **record, Presence::kThere);
  return Ok();
}

Status NfsBackend::ModifyVolume(Call& call, const gantry_modify_volume& request) {
  const std::string handle = ToString(request.handle);
  auto parameters = ParseMutableParameters(ToMap(request.mutable_parameters));
  if (!parameters) return ToStatus(parameters.error());
  const auto share = NeedShareOf(handle);
  if (!share) return ToStatus(share.error());
  plugin::Modification change;
  change.mutable_parameters = std::move(parameters->values);
  change.disposal = parameters->disposal;
  change.directory.mode = parameters->mode;
  const auto record = (*share)->Run<std::optional<Record>>(
      LimitsOf(call), Records::kOnlyIfThere, std::nullopt,
      [&](plugin::Storage& storage, const plugin::Layout& layout) -> Result<std::optional<Record>> {
        return copies_.Open(storage, layout).Modify(handle, change);
      });
  if (!record) return ToStatus(record.error());
  if (!*record) return Refuse(code::kNotFound, "there is no volume " + handle);
  return Ok();
}

// The trash without asking the servers, so that one that is away keeps nobody's from being emptied,
// and a run that finds nothing is cheap.
Status NfsBackend::ListTasks(Call& call, const gantry_task_run&) {
  for (const auto& share : shares_) AskForTrash(call, *share);
  Status status = Ok();
  for (const auto& share : shares_) {
    if (auto listed = copies_.ListTasks(call, *share); !listed.ok()) status = std::move(listed);
  }
  return status;
}

Status NfsBackend::RunTask(Call& call, const gantry_task_run& request) {
  const std::string_view key = View(request.key);
  constexpr size_t kMarkBytes = 2;  // "v-", "s-"
  if (View(request.kind) == kCopyTask && key.size() > kMarkBytes) {
    const auto share = NeedShareOf(key.substr(kMarkBytes));
    if (!share) return ToStatus(share.error());
    Status status = copies_.RunTask(call, **share, request);
    if (status.ok()) AskForTrash(call, **share);
    return status;
  }
  Share* share = View(request.kind) == kTrashTask ? ShareOf(std::string(key) + "-") : nullptr;
  if (share == nullptr) {
    return Refuse(code::kNotFound,
                  "there is no task " + ToString(request.kind) + " for " + std::string(key));
  }
  const Limits limits = LimitsOf(call);
  const auto run = share->RunTree<plugin::TrashRun>(
      limits, Records::kOnlyIfThere, {},
      [&](plugin::Storage& storage, plugin::AsyncStorage& tree, const plugin::Layout& layout) {
        return plugin::Trash(storage, tree, layout, Nonce, limits.cancelled).Run();
      });
  if (!run) return ToStatus(run.error());
  gantry_task_progress progress{};
  progress.done = run->removed;
  call.Emit(progress);
  if (run->state == plugin::TrashState::kMore) {
    return Refuse(code::kAborted, run->leased ? "there is more to remove"
                                              : "another controller is emptying the trash");
  }
  if (!run->stuck.empty()) return Refuse(code::kFailedPrecondition, run->stuck);
  if (run->state == plugin::TrashState::kEmpty)
    return Refuse(code::kNotFound, "the trash is empty");
  return Ok();
}

}  // namespace gantry::nfs
