// SPDX-License-Identifier: Apache-2.0
// The ABI for C++20: a backend is a class, its methods are the slots, and no exception leaves it.
//
//   class Disk {
//    public:
//     static gantry::Made<Disk> Create(const gantry::Host& host, const gantry_create& request);
//     gantry::Status CreateVolume(gantry::Call& call, const gantry_create_volume& request);
//     gantry::Status DeleteVolume(gantry::Call& call, const gantry_volume_ref& request);
//   };
//   GANTRY_PLUGIN(Disk, kManifest)
//
// A method that the class has is a slot that the plugin offers; a method that it lacks is NULL.
// Each operation runs to its end on the thread that the worker gave it; what it returns is the
// finish. An exception that escapes a method becomes UNAVAILABLE, since a final code could leak a
// volume.
//
// Header-only and without dependencies, so that a vendor needs nothing but this folder.
#pragma once

#include <gantry/gantry.h>

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

// Nothing declared here crosses the ABI, so its padding is the compiler's business.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpadded"

namespace gantry {

inline std::string_view View(gantry_str s) {
  return s.ptr == nullptr ? "" : std::string_view(s.ptr, s.len);
}
inline std::string ToString(gantry_str s) { return std::string(View(s)); }
inline gantry_str ToStr(std::string_view s) { return {s.data(), s.size()}; }

inline std::map<std::string, std::string> ToMap(const gantry_map& map) {
  std::map<std::string, std::string> copy;
  for (size_t i = 0; i < map.count; ++i)
    copy.emplace(ToString(map.items[i].key), ToString(map.items[i].value));
  return copy;
}

// The value of a key, or an empty view; the view lives as long as the map.
inline std::string_view Find(const gantry_map& map, std::string_view key) {
  for (size_t i = 0; i < map.count; ++i)
    if (View(map.items[i].key) == key) return View(map.items[i].value);
  return {};
}

// A gantry_map that borrows from a std::map, for emitting.
class MapRef {
 public:
  explicit MapRef(const std::map<std::string, std::string>& map) {
    for (const auto& [key, value] : map) pairs_.push_back({ToStr(key), ToStr(value)});
  }
  gantry_map get() const { return {pairs_.data(), pairs_.size()}; }

 private:
  std::vector<gantry_pair> pairs_;
};

// The outcome of an operation.
struct Status {
  gantry_code code = GANTRY_OK;
  std::string message;

  bool ok() const { return code == GANTRY_OK; }
};
inline Status Ok() { return {}; }

// What Create returns: the backend, or why there is none.
template <class Backend>
using Made = std::variant<std::unique_ptr<Backend>, Status>;

// The host, as seen by the plugin. Copyable; valid until the process ends. Any thread.
class Host {
 public:
  explicit Host(const gantry_host* host)
      : host_(host), call_(Extension<gantry_call_api>(GANTRY_EXT_CALL)) {}

  template <class Api>
  const Api* Extension(const char* id) const {
    return static_cast<const Api*>(host_->extension(host_->ctx, id));
  }
  const gantry_call_api& call_api() const { return *call_; }
  void Log(int32_t level, std::string_view text, gantry_call call = 0) const {
    host_->log(host_->ctx, call, level, ToStr(text));
  }

 private:
  const gantry_host* host_;
  const gantry_call_api* call_;
};

// What a job in a throw-away process came to (gantry.job/1).
struct JobOutcome {
  gantry_code code = GANTRY_OK;
  std::string output;  // with OK
};

// Runs Backend::RunJob(Job&) in a process of its own and waits for it (job.h). UNIMPLEMENTED where
// the host has no such service.
inline JobOutcome RunJob(const Host& host, gantry_call call, std::string_view name,
                         std::string_view input, int64_t deadline_ns) {
  const auto* api = host.Extension<gantry_job_api>(GANTRY_EXT_JOB);
  if (api == nullptr) return {GANTRY_UNIMPLEMENTED, {}};
  gantry_job_request request{};
  request.size = sizeof request;
  request.name = ToStr(name);
  request.input = {input.data(), input.size()};
  request.deadline_ns = deadline_ns;
  JobOutcome outcome;
  outcome.output.resize(GANTRY_JOB_OUTPUT_BYTES_MAX);
  size_t length = 0;
  outcome.code =
      api->run(api->ctx, call, &request, outcome.output.data(), outcome.output.size(), &length);
  outcome.output.resize(outcome.code == GANTRY_OK ? length : 0);
  return outcome;
}

// The job, in its process. There is no instance there and no host service but Log.
class Job {
 public:
  Job(const gantry_host* host, const gantry_job_run* run) : host_(host), run_(run) {}

  std::string_view name() const { return View(run_->name); }
  std::string_view input() const {
    return {static_cast<const char*>(run_->input.ptr), run_->input.len};
  }
  int64_t deadline_ns() const { return run_->deadline_ns; }
  // False: more than GANTRY_JOB_OUTPUT_BYTES_MAX.
  bool Write(std::string_view bytes) {
    return run_->write(run_->ctx, {bytes.data(), bytes.size()}) != 0;
  }
  void Log(int32_t level, std::string_view text) const {
    host_->log(host_->ctx, 0, level, ToStr(text));
  }

 private:
  const gantry_host* host_;
  const gantry_job_run* run_;
};

// One call. Lives on the stack of the operation; not copied.
class Call {
 public:
  Call(const Host& host, gantry_call id) : host_(host), api_(host.call_api()), id_(id) {}
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  gantry_call id() const { return id_; }
  const Host& host() const { return host_; }
  std::chrono::steady_clock::time_point deadline() const {
    const int64_t ns = api_.deadline_ns(api_.ctx, id_);
    if (ns == INT64_MAX) return std::chrono::steady_clock::time_point::max();
    return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(ns));
  }
  uint32_t attempt() const { return api_.attempt(api_.ctx, id_); }
  bool Cancelled() const { return api_.cancelled(api_.ctx, id_) != 0; }
  // The view is wiped when the operation returns: use it, do not keep it.
  std::optional<std::string_view> Secret(std::string_view key) const {
    gantry_str value{};
    if (api_.secret(api_.ctx, id_, ToStr(key), &value) == 0) return std::nullopt;
    return View(value);
  }

  // Each returns false when the host wants no more.
  bool Emit(gantry_volume item) { return EmitAs(api_.emit_volume, item); }
  bool Emit(gantry_snapshot item) { return EmitAs(api_.emit_snapshot, item); }
  bool Emit(gantry_group_snapshot item) { return EmitAs(api_.emit_group_snapshot, item); }
  bool Emit(gantry_capacity item) { return EmitAs(api_.emit_capacity, item); }
  bool Emit(gantry_block_range item) { return EmitAs(api_.emit_block_range, item); }
  bool Emit(gantry_source item) { return EmitAs(api_.emit_source, item); }
  bool Emit(gantry_task item) { return EmitAs(api_.emit_task, item); }
  bool Emit(gantry_task_progress item) { return EmitAs(api_.emit_progress, item); }
  bool Emit(gantry_state item) {
    return api_.size >= offsetof(gantry_call_api, emit_state) + sizeof api_.emit_state &&
           EmitAs(api_.emit_state, item);
  }
  bool EmitPublishContext(const std::map<std::string, std::string>& context) {
    const MapRef map(context);
    const gantry_map borrowed = map.get();
    return api_.emit_publish_context(api_.ctx, id_, &borrowed) != 0;
  }

 private:
  template <class Item>
  bool EmitAs(int32_t (*emit)(void*, gantry_call, const Item*), Item& item) {
    item.size = sizeof item;
    return emit(api_.ctx, id_, &item) != 0;
  }

  const Host& host_;
  const gantry_call_api& api_;
  gantry_call id_;
};

namespace detail {

// The instance behind the opaque pointer: the backend and the host it was made with.
template <class Backend>
struct Holder {
  Host host;
  std::unique_ptr<Backend> backend;
};

inline void Finish(const Host& host, gantry_call call, const Status& status) {
  const auto& api = host.call_api();
  api.finish(api.ctx, call, status.code, ToStr(status.message));
}

// Runs what a method does and turns every way out of it into one finish.
template <class Operation>
void Fenced(const Host& host, gantry_call id, Operation&& operation) noexcept {
  try {
    Call call(host, id);
    Finish(host, id, operation(call));
  } catch (const std::bad_alloc&) {
    Finish(host, id, Status{GANTRY_RESOURCE_EXHAUSTED, std::string("out of memory")});
  } catch (const std::exception& e) {
    Finish(host, id, Status{GANTRY_UNAVAILABLE, std::string("the backend failed: ") + e.what()});
  } catch (...) {
    Finish(host, id, Status{GANTRY_UNAVAILABLE, std::string("the backend failed")});
  }
}

template <class Backend>
Holder<Backend>& Hold(gantry_instance* instance) {
  return *reinterpret_cast<Holder<Backend>*>(instance);
}

// The C function of one operation that takes a request.
template <class Backend, class Request, auto Method>
void Operation(gantry_instance* instance, gantry_call id, const Request* request) noexcept {
  auto& holder = Hold<Backend>(instance);
  Fenced(holder.host, id, [&](Call& call) { return ((*holder.backend).*Method)(call, *request); });
}

// The C function of one step of the life, which takes none.
template <class Backend, auto Method>
void Step(gantry_instance* instance, gantry_call id) noexcept {
  auto& holder = Hold<Backend>(instance);
  Fenced(holder.host, id, [&](Call& call) { return ((*holder.backend).*Method)(call); });
}

#define GANTRY_DETAIL_SLOT(table, slot, Method, Request)         \
  if constexpr (requires { &Backend::Method; }) {                \
    table.slot = &Operation<Backend, Request, &Backend::Method>; \
    any = true;                                                  \
  }
#define GANTRY_DETAIL_STEP(table, slot, Method) \
  if constexpr (requires { &Backend::Method; }) table.slot = &Step<Backend, &Backend::Method>;

template <class Backend>
gantry_str Domain(gantry_instance* instance, const gantry_domain_query* query) noexcept {
  try {
    return Hold<Backend>(instance).backend->Domain(*query);
  } catch (...) {
    return {};
  }
}

template <class Backend>
const gantry_controller* ControllerTable() {
  static bool any = false;
  static const gantry_controller kTable = [] {
    gantry_controller t{};
    t.size = sizeof t;
    if constexpr (requires { Backend::kControllerFlags; }) t.flags = Backend::kControllerFlags;
    if constexpr (requires { &Backend::Domain; }) t.domain = &Domain<Backend>;
    GANTRY_DETAIL_SLOT(t, create_volume, CreateVolume, gantry_create_volume)
    GANTRY_DETAIL_SLOT(t, delete_volume, DeleteVolume, gantry_volume_ref)
    GANTRY_DETAIL_SLOT(t, get_volume, GetVolume, gantry_volume_ref)
    GANTRY_DETAIL_SLOT(t, list_volumes, ListVolumes, gantry_list_volumes)
    GANTRY_DETAIL_SLOT(t, get_capacity, GetCapacity, gantry_get_capacity)
    GANTRY_DETAIL_SLOT(t, expand_volume, ExpandVolume, gantry_expand_volume)
    GANTRY_DETAIL_SLOT(t, modify_volume, ModifyVolume, gantry_modify_volume)
    GANTRY_DETAIL_SLOT(t, recognize_volume, RecognizeVolume, gantry_volume_ref)
    return t;
  }();
  return any ? &kTable : nullptr;
}

template <class Backend>
const gantry_publish* PublishTable() {
  static bool any = false;
  static const gantry_publish kTable = [] {
    gantry_publish t{};
    t.size = sizeof t;
    if constexpr (requires { Backend::kPublishFlags; }) t.flags = Backend::kPublishFlags;
    GANTRY_DETAIL_SLOT(t, publish_volume, PublishVolume, gantry_publish_volume)
    GANTRY_DETAIL_SLOT(t, unpublish_volume, UnpublishVolume, gantry_publish_volume)
    return t;
  }();
  return any ? &kTable : nullptr;
}

template <class Backend>
const gantry_snapshot_ops* SnapshotTable() {
  static bool any = false;
  static const gantry_snapshot_ops kTable = [] {
    gantry_snapshot_ops t{};
    t.size = sizeof t;
    GANTRY_DETAIL_SLOT(t, create_snapshot, CreateSnapshot, gantry_create_snapshot)
    GANTRY_DETAIL_SLOT(t, delete_snapshot, DeleteSnapshot, gantry_snapshot_ref)
    GANTRY_DETAIL_SLOT(t, get_snapshot, GetSnapshot, gantry_snapshot_ref)
    GANTRY_DETAIL_SLOT(t, list_snapshots, ListSnapshots, gantry_list_snapshots)
    return t;
  }();
  return any ? &kTable : nullptr;
}

template <class Backend>
const gantry_group_ops* GroupTable() {
  static bool any = false;
  static const gantry_group_ops kTable = [] {
    gantry_group_ops t{};
    t.size = sizeof t;
    GANTRY_DETAIL_SLOT(t, create_group, CreateGroup, gantry_create_group)
    GANTRY_DETAIL_SLOT(t, delete_group, DeleteGroup, gantry_group_ref)
    GANTRY_DETAIL_SLOT(t, get_group, GetGroup, gantry_group_ref)
    return t;
  }();
  return any ? &kTable : nullptr;
}

template <class Backend>
const gantry_metadata_ops* MetadataTable() {
  static bool any = false;
  static const gantry_metadata_ops kTable = [] {
    gantry_metadata_ops t{};
    t.size = sizeof t;
    if constexpr (requires { Backend::kBlockType; }) t.block_type = Backend::kBlockType;
    GANTRY_DETAIL_SLOT(t, get_allocated, GetAllocated, gantry_block_query)
    GANTRY_DETAIL_SLOT(t, get_delta, GetDelta, gantry_block_query)
    return t;
  }();
  return any ? &kTable : nullptr;
}

template <class Backend>
const gantry_node_ops* NodeTable() {
  static bool any = false;
  static const gantry_node_ops kTable = [] {
    gantry_node_ops t{};
    t.size = sizeof t;
    GANTRY_DETAIL_SLOT(t, attach, Attach, gantry_attach)
    GANTRY_DETAIL_SLOT(t, detach, Detach, gantry_attach)
    GANTRY_DETAIL_SLOT(t, rescan, Rescan, gantry_attach)
    return t;
  }();
  return any ? &kTable : nullptr;
}

template <class Backend>
const gantry_task_ops* TaskTable() {
  static bool any = false;
  static const gantry_task_ops kTable = [] {
    gantry_task_ops t{};
    t.size = sizeof t;
    GANTRY_DETAIL_SLOT(t, list_tasks, ListTasks, gantry_task_run)
    GANTRY_DETAIL_SLOT(t, run_task, RunTask, gantry_task_run)
    return t;
  }();
  return any ? &kTable : nullptr;
}

template <class Backend>
const gantry_state_ops* StateTable() {
  static bool any = false;
  static const gantry_state_ops kTable = [] {
    gantry_state_ops t{};
    t.size = sizeof t;
    GANTRY_DETAIL_SLOT(t, export_state, ExportState, gantry_state)
    GANTRY_DETAIL_SLOT(t, import_state, ImportState, gantry_state)
    GANTRY_DETAIL_SLOT(t, use_formats, UseFormats, gantry_formats)
    return t;
  }();
  return any ? &kTable : nullptr;
}

template <class Backend>
gantry_code RunJob(const gantry_host* host, const gantry_job_run* run) noexcept {
  Job job(host, run);
  try {
    const Status status = Backend::RunJob(job);
    if (!status.ok()) job.Log(GANTRY_LOG_WARNING, status.message);
    return status.code;
  } catch (const std::exception& e) {
    job.Log(GANTRY_LOG_ERROR, e.what());
    return GANTRY_UNAVAILABLE;
  } catch (...) {
    return GANTRY_UNAVAILABLE;
  }
}

template <class Backend>
const gantry_job_ops* JobTable() {
  static const gantry_job_ops kTable{sizeof kTable, 0, &RunJob<Backend>};
  return &kTable;
}

template <class Backend>
void Create(const gantry_host* c_host, gantry_call id, const gantry_create* request,
            gantry_instance** instance) noexcept {
  const Host host(c_host);
  Fenced(host, id, [&](Call&) {
    auto made = Backend::Create(host, *request);
    if (auto* failed = std::get_if<Status>(&made)) return *failed;
    auto holder = std::make_unique<Holder<Backend>>(
        Holder<Backend>{host, std::move(std::get<std::unique_ptr<Backend>>(made))});
    *instance = reinterpret_cast<gantry_instance*>(holder.release());
    return Ok();
  });
}

template <class Backend>
void Destroy(gantry_instance* instance) noexcept {
  delete reinterpret_cast<Holder<Backend>*>(instance);
}

// What depends on the configuration is narrowed by the class's own Offers(id), where it has one.
template <class Backend>
const void* Extension(gantry_instance* instance, const char* c_id) noexcept {
  const std::string_view id(c_id);
  // Asked for without an instance.
  if (id == GANTRY_EXT_JOB) {
    if constexpr (requires { &Backend::RunJob; }) return JobTable<Backend>();
    return nullptr;
  }
  if constexpr (requires(const Backend& b) { b.Offers(id); })
    if (!Hold<Backend>(instance).backend->Offers(id)) return nullptr;
  if (id == GANTRY_EXT_CONTROLLER) return ControllerTable<Backend>();
  if (id == GANTRY_EXT_PUBLISH) return PublishTable<Backend>();
  if (id == GANTRY_EXT_SNAPSHOT) return SnapshotTable<Backend>();
  if (id == GANTRY_EXT_GROUP) return GroupTable<Backend>();
  if (id == GANTRY_EXT_METADATA) return MetadataTable<Backend>();
  if (id == GANTRY_EXT_NODE) return NodeTable<Backend>();
  if (id == GANTRY_EXT_TASK) return TaskTable<Backend>();
  if (id == GANTRY_EXT_STATE) return StateTable<Backend>();
  if constexpr (requires { Backend::DataPath(); })
    if (id == GANTRY_EXT_DATAPATH) return Backend::DataPath();
  if constexpr (requires { Backend::Disk(); })
    if (id == GANTRY_EXT_DISK) return Backend::Disk();
  return nullptr;
}

template <class Backend>
const gantry_plugin* Entry(const gantry_manifest* manifest) {
  static const gantry_plugin kTable = [manifest] {
    gantry_plugin t{};
    t.magic = GANTRY_MAGIC;
    t.size = sizeof t;
    t.abi_major = GANTRY_ABI_MAJOR;
    t.abi_minor = GANTRY_ABI_MINOR;
    t.manifest = manifest;
    t.create = &Create<Backend>;
    GANTRY_DETAIL_STEP(t, start, Start)
    GANTRY_DETAIL_STEP(t, activate, Activate)
    GANTRY_DETAIL_STEP(t, deactivate, Deactivate)
    GANTRY_DETAIL_STEP(t, probe, Probe)
    GANTRY_DETAIL_STEP(t, drain, Drain)
    GANTRY_DETAIL_STEP(t, stop, Stop)
    t.destroy = &Destroy<Backend>;
    t.extension = &Extension<Backend>;
    return t;
  }();
  return &kTable;
}

}  // namespace detail

// The backend behind an instance, for tables that are written by hand (gantry.datapath/1,
// gantry.disk/1).
template <class Backend>
Backend& BackendOf(gantry_instance* instance) {
  return *detail::Hold<Backend>(instance).backend;
}
template <class Backend>
const Host& HostOf(gantry_instance* instance) {
  return detail::Hold<Backend>(instance).host;
}

// The plugin's entry point: BACKEND is the class, MANIFEST a gantry_manifest of static lifetime.
#define GANTRY_PLUGIN(BACKEND, MANIFEST)                                                         \
  extern "C" GANTRY_EXPORT const gantry_plugin* gantry_plugin_entry_v0(uint32_t, const char**) { \
    return ::gantry::detail::Entry<BACKEND>(&(MANIFEST));                                        \
  }

}  // namespace gantry

#pragma GCC diagnostic pop
