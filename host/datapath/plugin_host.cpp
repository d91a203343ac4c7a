// SPDX-License-Identifier: Apache-2.0
#include "host/datapath/plugin_host.hpp"

#include <fcntl.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <utility>

namespace gantry::datapath {
namespace {

constexpr gantry_call kCreateCall = 1;
constexpr size_t kArenaBytesMax = 1024 * 1024;

std::string_view View(gantry_str text) {
  return text.ptr == nullptr ? std::string_view() : std::string_view(text.ptr, text.len);
}
gantry_str ToStr(std::string_view text) { return {text.data(), text.size()}; }

wire::KeeperMessage Named(wire::KeeperKind kind, gantry_str name) {
  wire::KeeperMessage message;
  message.kind = kind;
  message.Add(wire::KeeperTag::kName, View(name));
  return message;
}

}  // namespace

PluginHost::PluginHost(EventLoop& loop, Server& server, KeeperLink& keeper,
                       const wire::DataPathDescription& description, wire::LogPipe& log)
    : loop_(loop), server_(server), keeper_(keeper), description_(description), log_(log) {
  FillTables();
  FillDatapathTable();
}

const void* PluginHost::Extension(std::string_view id) const {
  if (id == GANTRY_EXT_CALL) return &call_api_;
  if (id == GANTRY_EXT_DATAPATH_HOST) return &datapath_host_;
  return nullptr;
}

bool PluginHost::GetSecret(gantry_str key, gantry_str* value) const {
  const auto found = description_.secrets.find(View(key));
  if (found == description_.secrets.end()) return false;
  *value = ToStr(found->second.view());
  return true;
}

void* PluginHost::GetRegion(std::string_view name, size_t bytes, int32_t* fresh) {
  *fresh = 0;
  if (const auto known = regions_.find(name); known != regions_.end())
    return known->second.bytes == bytes ? known->second.mapping.data() : nullptr;
  wire::KeeperMessage request;
  request.kind = wire::KeeperKind::kRegion;
  request.Add(wire::KeeperTag::kName, name).Add(wire::KeeperTag::kBytes, uint64_t{bytes});
  auto reply = keeper_.Call(std::move(request));
  if (!reply || reply->fds.size() != 1) {
    log_.Write(wire::LogLevel::kError,
               "no region \"" + std::string(name) +
                   "\": " + (reply ? "the keeper sent no memory" : reply.error().message));
    return nullptr;
  }
  auto mapping = Mapping::Shared(reply->fds.front().get(), 0, PageAligned(bytes));
  if (!mapping) return nullptr;
  *fresh = reply->Number(wire::KeeperTag::kFresh) != 0 ? 1 : 0;
  size_t present = 0;
  if (*fresh != 0 && description_.disk) {
    // What writes back memory must not need any.
    if (!Populate(mapping->data(), mapping->size())) return nullptr;
    (void)Lock(mapping->data(), mapping->size());
    present = mapping->size();
  } else {
    // A filesystem's new memory as it is used, because most volumes of a node are idle. A predecessor's
    // is there; what is missing are this process's ways to it.
    (void)LockWhenPresent(mapping->data(), mapping->size());
    if (*fresh != 0)
      present = mapping->size();
    else
      MakePresentSoon();
  }
  const auto region =
      regions_.emplace(std::string(name), Region{std::move(*mapping), bytes, present}).first;
  return region->second.mapping.data();
}

// Step by step, beside the volume's requests.
void PluginHost::MakeMorePresent() {
  for (auto& [name, region] : regions_) {
    const size_t left = region.mapping.size() - region.present;
    if (left == 0) continue;
    const size_t step = std::min(kPresentStepBytes, left);
    (void)(description_.disk ? Populate : PopulateWhatIsThere)(
        region.mapping.data() + region.present, step);
    region.present += step;
    return MakePresentSoon();
  }
}

void PluginHost::MakePresentSoon() {
  loop_.SetTimer(kPresentTimer, EventLoop::Now() + kPresentPauseNs, [this] { MakeMorePresent(); });
}

void PluginHost::FillTables() {
  host_.size = sizeof host_;
  host_.abi_minor = GANTRY_ABI_MINOR;
  host_.ctx = this;
  host_.extension = [](void* ctx, const char* id) -> const void* {
    return static_cast<PluginHost*>(ctx)->Extension(id);
  };
  host_.log = [](void* ctx, gantry_call, int32_t level, gantry_str message) {
    static_cast<PluginHost*>(ctx)->log_.Write(wire::ToLogLevel(level), View(message));
  };

  gantry_call_api& call = call_api_;
  call.size = sizeof call;
  call.ctx = this;
  call.finish = [](void* ctx, gantry_call id, gantry_code code, gantry_str message) {
    CreateCall& create = static_cast<PluginHost*>(ctx)->create_;
    const std::lock_guard lock(create.mutex);
    if (id != kCreateCall || create.finished) return;
    create.finished = true;
    create.code = static_cast<base::Code>(code);
    create.message = View(message);
    create.changed.notify_all();
  };
  call.deadline_ns = [](void* ctx, gantry_call) {
    return base::ToNanoseconds(static_cast<PluginHost*>(ctx)->create_.deadline);
  };
  call.attempt = [](void*, gantry_call) -> uint32_t { return 1; };
  call.cancelled = [](void*, gantry_call) -> int32_t { return 0; };
  // Nobody cancels create: accepted, and never called.
  call.on_cancel = [](void*, gantry_call, void (*)(void*), void*) -> int32_t { return 0; };
  call.secret = [](void* ctx, gantry_call, gantry_str key, gantry_str* value) -> int32_t {
    return static_cast<PluginHost*>(ctx)->GetSecret(key, value) ? 1 : 0;
  };
  call.request_bytes = [](void*, gantry_call) { return gantry_bytes{nullptr, 0}; };
  call.alloc = [](void* ctx, gantry_call, size_t bytes, size_t alignment) -> void* {
    CreateCall& create = static_cast<PluginHost*>(ctx)->create_;
    const std::lock_guard lock(create.mutex);
    if (bytes > kArenaBytesMax - create.memory_bytes || alignment > alignof(std::max_align_t))
      return nullptr;
    create.memory_bytes += bytes;
    return create.memory.emplace_back(bytes / sizeof(std::max_align_t) + 1).data();
  };
  // create brings nothing out.
  call.emit_volume = [](void*, gantry_call, const gantry_volume*) { return 0; };
  call.emit_snapshot = [](void*, gantry_call, const gantry_snapshot*) { return 0; };
  call.emit_group_snapshot = [](void*, gantry_call, const gantry_group_snapshot*) { return 0; };
  call.emit_capacity = [](void*, gantry_call, const gantry_capacity*) { return 0; };
  call.emit_publish_context = [](void*, gantry_call, const gantry_map*) { return 0; };
  call.emit_block_range = [](void*, gantry_call, const gantry_block_range*) { return 0; };
  call.emit_source = [](void*, gantry_call, const gantry_source*) { return 0; };
  call.emit_task = [](void*, gantry_call, const gantry_task*) { return 0; };
  call.emit_progress = [](void*, gantry_call, const gantry_task_progress*) { return 0; };
  call.emit_state = [](void*, gantry_call, const gantry_state*) { return 0; };
}

void PluginHost::FillDatapathTable() {
  gantry_datapath_host& path = datapath_host_;
  path.size = sizeof path;
  path.ctx = this;
  path.done = [](void* ctx, gantry_op op) { static_cast<PluginHost*>(ctx)->server_.Done(op); };
  path.done_error = [](void* ctx, gantry_op op, int32_t error_number) {
    auto* self = static_cast<PluginHost*>(ctx);
    if (!self->disk_ || !self->disk_->DoneError(op, error_number))
      self->server_.DoneError(op, error_number);
  };
  path.done_disk = [](void* ctx, gantry_op op, const gantry_disk_facts* facts) {
    auto* self = static_cast<PluginHost*>(ctx);
    if (!self->disk_ || !self->disk_->DoneDisk(op, *facts)) self->server_.DoneOfNoKind(op);
  };
  path.done_attributes = [](void* ctx, gantry_op op, const gantry_fs_attributes* attributes) {
    static_cast<PluginHost*>(ctx)->server_.DoneAttributes(op, attributes);
  };
  path.done_node = [](void* ctx, gantry_op op, gantry_bytes node,
                      const gantry_fs_attributes* attributes) {
    static_cast<PluginHost*>(ctx)->server_.DoneNode(op, node, attributes);
  };
  path.done_target = [](void* ctx, gantry_op op, gantry_str target) {
    static_cast<PluginHost*>(ctx)->server_.DoneTarget(op, target);
  };
  path.done_data = [](void* ctx, gantry_op op, uint32_t length) {
    static_cast<PluginHost*>(ctx)->server_.DoneData(op, length);
  };
  path.done_written = [](void* ctx, gantry_op op, uint32_t length) {
    static_cast<PluginHost*>(ctx)->server_.DoneWritten(op, length);
  };
  path.done_statfs = [](void* ctx, gantry_op op, const gantry_fs_statfs* statfs) {
    static_cast<PluginHost*>(ctx)->server_.DoneStatfs(op, statfs);
  };
  path.entry = [](void* ctx, gantry_op op, const gantry_fs_entry* entry) {
    return static_cast<PluginHost*>(ctx)->server_.Entry(op, *entry, {}, {});
  };
  path.entry_plus = [](void* ctx, gantry_op op, const gantry_fs_entry* entry, gantry_bytes node,
                       const gantry_fs_attributes* attributes) {
    return static_cast<PluginHost*>(ctx)->server_.Entry(op, *entry, node, attributes);
  };
  path.region = [](void* ctx, gantry_str name, size_t bytes, int32_t* fresh) {
    return static_cast<PluginHost*>(ctx)->GetRegion(View(name), bytes, fresh);
  };
  path.keep_fd = [](void* ctx, gantry_str name, int32_t fd) -> int32_t {
    auto& keeper = static_cast<PluginHost*>(ctx)->keeper_;
    return keeper.Call(Named(wire::KeeperKind::kKeepFd, name), fd) ? 0 : -1;
  };
  path.take_fd = [](void* ctx, gantry_str name) -> int32_t {
    auto reply =
        static_cast<PluginHost*>(ctx)->keeper_.Call(Named(wire::KeeperKind::kTakeFd, name));
    return reply && reply->fds.size() == 1 ? reply->fds.front().Release() : -1;
  };
  path.drop_fd = [](void* ctx, gantry_str name) {
    (void)static_cast<PluginHost*>(ctx)->keeper_.Call(Named(wire::KeeperKind::kDropFd, name));
  };
  path.watch = [](void* ctx, int32_t fd, uint32_t events, void (*fn)(void*, uint32_t),
                  void* arg) -> int32_t {
    uint32_t mask = 0;
    if ((events & GANTRY_FS_READABLE) != 0) mask |= EPOLLIN;
    if ((events & GANTRY_FS_WRITABLE) != 0) mask |= EPOLLOUT;
    const auto watched =
        static_cast<PluginHost*>(ctx)->loop_.Watch(fd, mask, [fn, arg](uint32_t ready) {
          uint32_t seen = 0;
          if ((ready & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) seen |= GANTRY_FS_READABLE;
          if ((ready & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) seen |= GANTRY_FS_WRITABLE;
          fn(arg, seen);
        });
    return watched ? 0 : -1;
  };
  path.timer = [](void* ctx, int64_t at_ns, void (*fn)(void*), void* arg) {
    static_cast<PluginHost*>(ctx)->loop_.SetTimer(kPluginTimer, at_ns, [fn, arg] { fn(arg); });
  };
  path.secret = [](void* ctx, gantry_str key, gantry_str* value) -> int32_t {
    return static_cast<PluginHost*>(ctx)->GetSecret(key, value) ? 1 : 0;
  };
}

base::Status PluginHost::RunCreate(const gantry_plugin& plugin, base::TimePoint deadline,
                                   gantry_instance** instance) {
  struct Padded {
    gantry_create request;
    char slack[sizeof(gantry_create)];
  } padded{};
  gantry_create& request = padded.request;
  request.size = sizeof request;
  request.roles = GANTRY_ROLE_DATAPATH;
  request.backend = ToStr(description_.backend);
  request.owner = ToStr(description_.owner);
  request.config_json = ToStr(description_.config_json);
  request.node_id = ToStr(description_.node_id);
  create_.deadline = deadline;
  plugin.create(&host_, kCreateCall, &request, instance);
  std::unique_lock lock(create_.mutex);
  if (!create_.changed.wait_until(lock, deadline, [&] { return create_.finished; }))
    return base::Fail(base::Code::kDeadlineExceeded, "the plugin's create does not end");
  if (create_.code != base::Code::kOk)
    return base::Fail(create_.code, "create: " + create_.message);
  if (*instance == nullptr)
    return base::Fail(base::Code::kInternal, "create succeeded without an instance");
  return {};
}

base::Result<const gantry_datapath*> PluginHost::Create(const gantry_plugin& plugin,
                                                        base::TimePoint deadline,
                                                        gantry_instance** instance) {
  GANTRY_TRY(RunCreate(plugin, deadline, instance));
  const char* const wanted = description_.disk ? GANTRY_EXT_DISK : GANTRY_EXT_DATAPATH;
  const void* table = plugin.extension(*instance, wanted);
  if (table == nullptr)
    return base::Fail(base::Code::kUnimplemented,
                      "backend " + description_.backend + " has no " + wanted);
  if (!description_.disk) return static_cast<const gantry_datapath*>(table);
  disk_ = std::make_unique<DiskVolume>(
      datapath_host_, static_cast<const gantry_disk*>(table), *instance,
      DiskVolume::Expected{description_.identity, description_.size_bytes},
      [this](wire::LogLevel level, std::string_view text) { log_.Write(level, text); });
  *instance = disk_->instance();
  return DiskVolume::Table();
}

}  // namespace gantry::datapath
