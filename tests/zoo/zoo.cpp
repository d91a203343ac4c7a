// SPDX-License-Identifier: Apache-2.0
// The zoo: one plugin a macro (CMakeLists.txt). Written against the C ABI by hand, since gantry.hpp
// would fence off most of what is to go wrong here.
#include <gantry/gantry.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/zoo/acts.hpp"

#ifdef ZOO_UNDEFINED_SYMBOL
extern "C" void gantry_zoo_nobody_defines_this();
#endif

namespace {

// ThreadSanitizer would report the animal, which is what it is.
[[maybe_unused]] void CloseBehindSanitizers(int fd) { syscall(SYS_close, fd); }

struct State {
  const gantry_host* host = nullptr;
  const gantry_call_api* call = nullptr;
  std::vector<std::thread> threads;  // joined by stop
};
State g_state;  // one instance a process, and only one

gantry_str Str(std::string_view text) { return {text.data(), text.size()}; }
[[maybe_unused]] std::string_view View(gantry_str text) {
  return text.ptr == nullptr ? "" : std::string_view(text.ptr, text.len);
}
[[maybe_unused]] std::string_view Find(const gantry_map& map, std::string_view key) {
  for (size_t i = 0; i < map.count; ++i)
    if (View(map.items[i].key) == key) return View(map.items[i].value);
  return {};
}

void Finish(gantry_call call, gantry_code code, std::string_view message = "") {
  g_state.call->finish(g_state.call->ctx, call, code, Str(message));
}
[[maybe_unused]] void Log(std::string_view text, gantry_call call = 0) {
  g_state.host->log(g_state.host->ctx, call, GANTRY_LOG_INFO, Str(text));
}
[[maybe_unused]] bool Cancelled(gantry_call call) {
  return g_state.call->cancelled(g_state.call->ctx, call) != 0;
}
// Being slow is what some of these plugins are for.
[[maybe_unused]] void DwellMs(int ms) { (void)poll(nullptr, 0, ms); }

int32_t EmitVolume(gantry_call call, std::string_view handle,
                   const std::map<std::string, std::string>& context = {}) {
  std::vector<gantry_pair> pairs;
  for (const auto& [key, value] : context) pairs.push_back({Str(key), Str(value)});
  gantry_volume volume{};
  volume.size = sizeof(volume);
  volume.handle = Str(handle);
  volume.capacity_bytes = 1 << 30;
  volume.context = {pairs.data(), pairs.size()};
  return g_state.call->emit_volume(g_state.call->ctx, call, &volume);
}

// How many of DeleteVolume are inside at once, in all and of one handle.
[[maybe_unused]] void CountInside(gantry_call call, const gantry_volume_ref* request) {
  static std::mutex mutex;
  static std::condition_variable changed;
  static int inside = 0;
  static int most = 0;
  static int most_of_one = 0;
  static std::map<std::string, int> of_handle;
  const std::string handle(View(request->handle));
  std::unique_lock lock(mutex);
  most = std::max(most, ++inside);
  most_of_one = std::max(most_of_one, ++of_handle[handle]);
  changed.notify_all();
#ifdef ZOO_PARALLEL
  // Four only get past here together, which proves that they are inside together.
  changed.wait_for(lock, std::chrono::seconds(20), [] { return most >= 4; });
#else
  lock.unlock();
  DwellMs(2);
  lock.lock();
#endif
  --inside;
  --of_handle[handle];
  const std::string told =
      "most " + std::to_string(most) + " of one " + std::to_string(most_of_one);
  lock.unlock();
  Finish(call, GANTRY_OK, told);
}

[[maybe_unused]] void Succeed(gantry_call call, const gantry_create_volume* request) {
  EmitVolume(call, "v-" + std::string(View(request->key)));
  Finish(call, GANTRY_OK);
}

// ---- operations; what a kind does not say itself is a plain success

[[maybe_unused]] void CreateVolume(gantry_instance*, gantry_call call,
                                   const gantry_create_volume* request) {
#if defined(ZOO_ABORTS_ON_OP)
  (void)call;
  (void)request;
  std::abort();
#elif defined(ZOO_THROWS_ON_OP)
  (void)call;
  (void)request;
  throw std::runtime_error("out of an operation");
#elif defined(ZOO_HANGS)
  (void)request;
  Log("hanging", call);
  for (;;) DwellMs(1000);
#elif defined(ZOO_WAITS_FOR_CANCEL)
  (void)request;
  static gantry_call waiting;
  waiting = call;
  const int32_t set = g_state.call->on_cancel(
      g_state.call->ctx, call,
      [](void* arg) {
        Log("the callback runs");
        Finish(*static_cast<gantry_call*>(arg), GANTRY_CANCELLED, "by the callback");
      },
      &waiting);
  Log(set == 0 ? "waiting for the cancel" : "no callback could be set");
#elif defined(ZOO_DOUBLE_FINISH)
  EmitVolume(call, View(request->key));
  Finish(call, GANTRY_OK);
  Finish(call, GANTRY_INTERNAL, "again");
  Finish(call, GANTRY_INTERNAL, "and again");
  Finish(call + 1000, GANTRY_OK, "of nobody");
#elif defined(ZOO_FINISH_LATE_FROM_THREAD)
  g_state.threads.emplace_back([call, request] {
    DwellMs(30);
    // Inputs live until this finish, although the function returned long ago.
    EmitVolume(call, View(request->key), {{"name", std::string(View(request->name))}});
    Finish(call, GANTRY_OK);
  });
#elif defined(ZOO_EMITS_JUNK)
  const std::string_view name = View(request->name);
  if (name == "bad handle") EmitVolume(call, "a/b");
  if (name == "null list") {
    gantry_volume volume{};
    volume.size = sizeof(volume);
    volume.handle = Str("ok");
    volume.context = {nullptr, 5};
    g_state.call->emit_volume(g_state.call->ctx, call, &volume);
  }
  if (name == "not utf-8") EmitVolume(call, "ok", {{"k", "\xff\xfe"}});
  if (name == "wrong item") {
    gantry_source source{};
    source.size = sizeof(source);
    source.kind = GANTRY_SOURCE_USERSPACE;
    g_state.call->emit_source(g_state.call->ctx, call, &source);
  }
  if (name == "null item") g_state.call->emit_volume(g_state.call->ctx, call, nullptr);
  if (name == "short struct") {  // of an older minor: the rest counts as zero
    gantry_volume volume;
    std::memset(&volume, 0xFF, sizeof(volume));
    volume.size = offsetof(gantry_volume, capacity_bytes);
    volume.flags = 0;
    volume.handle = Str("short");
    g_state.call->emit_volume(g_state.call->ctx, call, &volume);
  }
  Finish(call, name == "unknown code" ? 77 : GANTRY_OK, "done");
#elif defined(ZOO_SLOW_DOMAIN)
  if (Find(request->parameters, "server") == "dead")
    while (!Cancelled(call)) DwellMs(5);
  EmitVolume(call, View(request->key));
  Finish(call, GANTRY_OK);
#elif defined(ZOO_FLOODS_LOG)
  const std::string line(1000, 'x');
  for (int i = 0; i < 20000; ++i) Log(line, call);
  EmitVolume(call, View(request->key));
  Finish(call, GANTRY_OK);
#elif defined(ZOO_CLOSES_FDS)
  for (int fd = 3; fd < 100; ++fd) CloseBehindSanitizers(fd);
  EmitVolume(call, View(request->key));
  Finish(call, GANTRY_OK);
#elif defined(ZOO_SEGFAULTS_AT_THIRD_CALL)
  if (++zoo::g_calls % 3 == 0) {
    volatile int* nowhere = nullptr;
    *nowhere = 1;
  }
  Succeed(call, request);
#elif defined(ZOO_POISON)
  if (View(request->name) == "poison") std::abort();
  Succeed(call, request);
#elif defined(ZOO_NEVER_FINISHES)
  if (View(request->name).starts_with("good")) return Succeed(call, request);
#elif defined(ZOO_FINISHES_TOO_LATE)
  // Deaf to the cancel; finishes when the host has long answered.
  g_state.threads.emplace_back([call, request] {
    DwellMs(1500);
    Succeed(call, request);
    Log("finished late", call);
  });
#elif defined(ZOO_LEAKS_MEMORY)
  constexpr size_t kBytes = size_t{32} << 20;
  volatile char* leak = new char[kBytes];  // volatile, or the compiler would leave it out
  for (size_t at = 0; at < kBytes; at += 4096) leak[at] = 1;
  Succeed(call, request);
#elif defined(ZOO_LEAKS_THREADS)
  for (int i = 0; i < 20; ++i)
    std::thread([] {
      for (;;) pause();
    }).detach();
  Succeed(call, request);
#elif defined(ZOO_LEAKS_FDS)
  for (int i = 0; i < 300; ++i) (void)dup(2);
  Succeed(call, request);
#elif defined(ZOO_CLOSES_CHANNEL)
  for (const int fd : zoo::Sockets()) shutdown(fd, SHUT_RDWR);
  for (const int fd : zoo::Sockets()) CloseBehindSanitizers(fd);
  Succeed(call, request);
#elif defined(ZOO_WRITES_RUBBISH)
  const std::string rubbish(4096, '\xA5');
  for (const int fd : zoo::Sockets()) (void)send(fd, rubbish.data(), rubbish.size(), MSG_DONTWAIT);
  Succeed(call, request);
#elif defined(ZOO_STOPS_READING)
  zoo::StopReading();
  Succeed(call, request);
#elif defined(ZOO_FORKS)
  // The child has what its parent had, the channel and the lease of the backend among it.
  const pid_t child = fork();
  if (child == 0)
    for (;;) pause();
  Log(child < 0 ? "cannot fork" : "forked " + std::to_string(child), call);
  if (View(request->name) == "and dies") std::abort();
  Succeed(call, request);
#elif defined(ZOO_READS_SECRETS)
  gantry_str secret{};
  const int32_t given = g_state.call->secret(g_state.call->ctx, call, Str("password"), &secret);
  gantry_str none{};
  const int32_t other = g_state.call->secret(g_state.call->ctx, call, Str("other"), &none);
  EmitVolume(call, View(request->key),
             {{"given", std::to_string(given)},
              {"length", std::to_string(secret.len)},
              {"right", View(secret) == "hunter2" ? "yes" : "no"},
              {"terminated", given && secret.ptr[secret.len] == 0 ? "yes" : "no"},
              {"other", std::to_string(other)}});
  const size_t length = secret.len;
  Finish(call, GANTRY_OK);
  // Against the rules, and exactly what must find nothing: a look at the secret after the finish.
  bool wiped = given != 0;
  for (size_t i = 0; i < length; ++i) wiped = wiped && secret.ptr[i] == 0;
  Log(wiped ? "the secret is wiped" : "the secret is still there");
#elif defined(ZOO_SERVICES)
  (void)request;
  const auto& host = *g_state.host;
  const auto* kv = static_cast<const gantry_kv_api*>(host.extension(host.ctx, GANTRY_EXT_KV));
  const auto* exec = static_cast<const gantry_exec_api*>(host.extension(host.ctx, GANTRY_EXT_EXEC));
  const auto* keys =
      static_cast<const gantry_secret_api*>(host.extension(host.ctx, GANTRY_EXT_SECRET));
  const auto* metric =
      static_cast<const gantry_metric_api*>(host.extension(host.ctx, GANTRY_EXT_METRIC));
  const int64_t deadline = g_state.call->deadline_ns(g_state.call->ctx, call);
  std::map<std::string, std::string> told;
  told["put"] = std::to_string(kv->put(kv->ctx, Str("key"), {"value", 5}, 0, deadline));
  char buffer[3];
  size_t length = 0;
  uint64_t version = 0;
  told["get"] = std::to_string(
      kv->get(kv->ctx, Str("key"), buffer, sizeof(buffer), &length, &version, deadline));
  told["value"] = std::string(buffer, 3) + " of " + std::to_string(length) + " version " +
                  std::to_string(version);
  told["bad key"] = std::to_string(
      kv->get(kv->ctx, Str("a/b"), buffer, sizeof(buffer), &length, &version, deadline));
  std::string seen;
  told["scan"] = std::to_string(kv->scan(
      kv->ctx, Str("k"),
      [](void* arg, gantry_str key) {
        *static_cast<std::string*>(arg) += std::string(key.ptr, key.len) + ";";
        return 1;
      },
      &seen, deadline));
  told["seen"] = seen;
  told["remove"] = std::to_string(kv->remove(kv->ctx, Str("key"), 9, deadline));
  const gantry_str argv[] = {Str("rbd"), Str("ls")};
  gantry_exec_request run{};
  run.size = sizeof(run);
  run.argv = {argv, 2};
  run.deadline_ns = deadline;
  char out[64];
  char err[4];
  gantry_exec_result result{};
  result.size = sizeof(result);
  told["exec"] =
      std::to_string(exec->run(exec->ctx, call, &run, out, sizeof(out), err, sizeof(err), &result));
  told["exec result"] = std::string(out, result.output_length) + " exit " +
                        std::to_string(result.exit_status) + " stderr " +
                        std::to_string(result.error_length);
  char key[16];
  told["secret"] =
      std::to_string(keys->get(keys->ctx, Str("admin"), key, sizeof(key), &length, deadline));
  told["secret length"] = std::to_string(length);
  metric->count(metric->ctx, Str("zoo_calls"), 3);
  // A deadline of the plugin's own, over before anybody could answer.
  told["late"] = std::to_string(kv->remove(kv->ctx, Str("silence"), 0, 1));
  EmitVolume(call, "services", told);
  Finish(call, GANTRY_OK);
#else
  // Says what it was given, and whether the memory behind the request is zero.
  const char* behind = reinterpret_cast<const char*>(request) + sizeof(*request);
  bool zero = true;
  for (int i = 0; i < 256; ++i) zero = zero && behind[i] == 0;
  std::map<std::string, std::string> context;
  context["name"] = View(request->name);
  context["server"] = Find(request->parameters, "server");
  context["pvc"] = Find(request->hints, "pvc/name");
  context["parameters"] = std::to_string(request->parameters.count);
  context["slack"] = zero ? "zero" : "dirty";
  context["attempt"] = std::to_string(g_state.call->attempt(g_state.call->ctx, call));
  const gantry_bytes raw = g_state.call->request_bytes(g_state.call->ctx, call);
  context["raw"] = std::to_string(raw.len);
  EmitVolume(call, "v-" + std::string(View(request->key)), context);
  Finish(call, GANTRY_OK);
#endif
}

void DeleteVolume(gantry_instance*, gantry_call call, const gantry_volume_ref* request) {
#if defined(ZOO_SERIAL) || defined(ZOO_PER_VOLUME) || defined(ZOO_PARALLEL)
  CountInside(call, request);
#else
  Finish(call, View(request->handle) == "busy" ? GANTRY_FAILED_PRECONDITION : GANTRY_OK,
         "volume " + std::string(View(request->handle)));
#endif
}

// 100 volumes, or as many of them as the host wants.
void ListVolumes(gantry_instance*, gantry_call call, const gantry_list_volumes*) {
  int emitted = 0;
#ifdef ZOO_EMITS_ENDLESSLY
  // Whatever emit says, and for as long as anybody waits.
  while (!Cancelled(call)) EmitVolume(call, "v-" + std::to_string(1'000'000 + ++emitted));
#endif
  while (emitted < 100 && EmitVolume(call, "v-" + std::to_string(100 + emitted)) != 0) ++emitted;
  Finish(call, GANTRY_OK, std::to_string(emitted));
}

[[maybe_unused]] gantry_str Domain(gantry_instance*, const gantry_domain_query* query) {
  static constexpr std::string_view kDead = "nas-dead";
  static constexpr std::string_view kAlive = "nas-alive";
  return Str(Find(query->parameters, "server") == "dead" ? kDead : kAlive);
}

void RunTask(gantry_instance*, gantry_call call, const gantry_task_run* request) {
  gantry_task_progress progress{};
  progress.size = sizeof(progress);
  progress.cursor = {request->key.ptr, request->key.len};
  progress.done = 1;
  progress.total = 2;
  g_state.call->emit_progress(g_state.call->ctx, call, &progress);
  Finish(call, GANTRY_ABORTED, "more later");
}

void Attach(gantry_instance*, gantry_call call, const gantry_attach* request) {
  const gantry_str options[] = {Str("nosuid")};
  gantry_source source{};
  source.size = sizeof(source);
  source.kind = GANTRY_SOURCE_FILESYSTEM;
  source.fs_type = Str("nfs");
  source.source = Str("nas:/x");
  source.options = {options, 1};
#ifdef ZOO_HOSTILE_SOURCES
  // The volume's context says what is tried: "type|source|option".
  const std::string wish(Find(request->context, "wish"));
  const size_t first = wish.find('|');
  const size_t second = wish.find('|', first + 1);
  const std::string type = wish.substr(0, first);
  const std::string from = wish.substr(first + 1, second - first - 1);
  const std::string option = wish.substr(second + 1);
  const gantry_str wished[] = {Str(option)};
  source.fs_type = Str(type);
  source.source = Str(from);
  source.options = {wished, option.empty() ? size_t{0} : size_t{1}};
  const gantry_str paths[] = {Str(from)};
  if (type == "block") {
    source.kind = GANTRY_SOURCE_BLOCK;
    source.identity = Str("naa.6001405000000000000000000000dead");
    source.size_bytes = 1 << 20;
    source.paths = {paths, 1};
  }
#endif
  g_state.call->emit_source(g_state.call->ctx, call, &source);
  Finish(call, GANTRY_OK, std::string(View(request->node_id)));
}

const void* Extension(gantry_instance*, const char* id) {
#ifdef ZOO_CHANGES_CAPABILITIES
  if (zoo::g_lives > 1) return nullptr;
#endif
  static const gantry_controller kController = [] {
    gantry_controller table{};
    table.size = sizeof(table);
    table.flags = GANTRY_CONTROLLER_CLONES;
#ifndef ZOO_NULL_SLOTS
    table.create_volume = &CreateVolume;
#endif
    table.delete_volume = &DeleteVolume;
    table.list_volumes = &ListVolumes;
#ifdef ZOO_SLOW_DOMAIN
    table.domain = &Domain;
#endif
    return table;
  }();
  static const gantry_node_ops kNode = [] {
    gantry_node_ops table{};
    table.size = sizeof(table);
    table.attach = &Attach;
    return table;
  }();
  static const gantry_task_ops kTask = [] {
    gantry_task_ops table{};
    table.size = sizeof(table);
    table.run_task = &RunTask;
    return table;
  }();
#ifdef ZOO_TRIVIAL
  return nullptr;
#endif
  if (std::strcmp(id, GANTRY_EXT_CONTROLLER) == 0) return &kController;
  if (std::strcmp(id, GANTRY_EXT_NODE) == 0) return &kNode;
  if (std::strcmp(id, GANTRY_EXT_TASK) == 0) return &kTask;
  return nullptr;
}

// ---- the life

void Create(const gantry_host* host, gantry_call call, const gantry_create* request,
            [[maybe_unused]] gantry_instance** instance) {
  g_state.host = host;
  g_state.call = static_cast<const gantry_call_api*>(host->extension(host->ctx, GANTRY_EXT_CALL));
#ifdef ZOO_CHANGES_CAPABILITIES
  // How often it was created is kept where a worker's death does not reach.
  const auto* kv = static_cast<const gantry_kv_api*>(host->extension(host->ctx, GANTRY_EXT_KV));
  const int64_t deadline = g_state.call->deadline_ns(g_state.call->ctx, call);
  size_t length = 0;
  (void)kv->get(kv->ctx, Str("lives"), nullptr, 0, &length, &zoo::g_lives, deadline);
  (void)kv->put(kv->ctx, Str("lives"), {"x", 1}, zoo::g_lives, deadline);
  ++zoo::g_lives;  // the version of what is not there is 0
#endif
#if defined(ZOO_ABORTS_ON_CREATE)
  std::abort();
#endif
#ifdef ZOO_THROWS_IN_CREATE
  throw std::runtime_error("out of create");
#endif
#ifdef ZOO_UNDEFINED_SYMBOL
  gantry_zoo_nobody_defines_this();
#endif
#ifndef ZOO_NULL_INSTANCE
  *instance = reinterpret_cast<gantry_instance*>(&g_state);
#endif
#ifdef ZOO_FAILS_CREATE
  return Finish(call, GANTRY_INVALID_ARGUMENT,
                "server: \"" + std::string(View(request->config_json)) + "\", expected a name");
#endif
  Log("created for " + std::string(View(request->backend)), call);
  Finish(call, GANTRY_OK);
}

void Step(gantry_instance*, gantry_call call) { Finish(call, GANTRY_OK, "a step"); }
void Probe(gantry_instance*, gantry_call call) { Finish(call, GANTRY_UNAVAILABLE, "nas is away"); }
void Drain(gantry_instance*, gantry_call call) {
#ifdef ZOO_SLOW_DRAIN
  DwellMs(1500);
#endif
  Finish(call, GANTRY_OK, "a step");
}
void Stop(gantry_instance*, gantry_call call) {
#ifdef ZOO_ABORTS_ON_STOP
  std::abort();
#endif
  for (auto& thread : g_state.threads) thread.join();
  Log("stopped");
  Finish(call, GANTRY_OK);
}
void Destroy(gantry_instance*) { Log("destroyed"); }

template <size_t N>
constexpr gantry_str Literal(const char (&text)[N]) {
  return {text, N - 1};
}

const gantry_manifest kManifest = [] {
  gantry_manifest m{};
  m.size = sizeof(m);
  m.name = Literal("zoo");
  m.version = Literal("1.2.3");
  m.csi_min = Literal("1.0.0");
  m.csi_max = Literal("1.12.0");
  m.access_modes = GANTRY_ACCESS_MODE_BIT(GANTRY_SINGLE_NODE_WRITER) |
                   GANTRY_ACCESS_MODE_BIT(GANTRY_MULTI_NODE_MULTI_WRITER);
  m.access_types = GANTRY_ACCESS_TYPE_BIT(GANTRY_ACCESS_MOUNT);
  m.thread_model = GANTRY_THREADS_PARALLEL;
  m.calls_max = 4;
  m.domain_calls_max = 2;
#if defined(ZOO_SERIAL)
  m.thread_model = GANTRY_THREADS_SERIAL;
#elif defined(ZOO_PER_VOLUME)
  m.thread_model = GANTRY_THREADS_PER_VOLUME;
  m.domain_calls_max = 4;
#elif defined(ZOO_PARALLEL)
  m.domain_calls_max = 4;
#elif defined(ZOO_BAD_MANIFEST)
  m.calls_max = 1000;
#endif
  return m;
}();

const gantry_plugin kPlugin = [] {
  gantry_plugin p{};
  p.magic = GANTRY_MAGIC;
  p.size = sizeof(p);
  p.abi_major = GANTRY_ABI_MAJOR;
  p.abi_minor = GANTRY_ABI_MINOR;
  p.manifest = &kManifest;
  p.create = &Create;
  p.start = &Step;
  p.probe = &Probe;
  p.drain = &Drain;
  p.stop = &Stop;
  p.destroy = &Destroy;
  p.extension = &Extension;
#if defined(ZOO_BAD_MAGIC)
  p.magic = 0x12345678;
#elif defined(ZOO_WRONG_MAJOR)
  p.abi_major = 7;
#elif defined(ZOO_NULL_MANIFEST)
  p.manifest = nullptr;
#elif defined(ZOO_FUTURE_MINOR)
  p.abi_minor = GANTRY_ABI_MINOR + 1;
#elif defined(ZOO_NULL_CREATE)
  p.create = nullptr;
#elif defined(ZOO_NULL_SLOTS)
  p.start = p.probe = p.drain = p.stop = nullptr;
#endif
  return p;
}();

#ifdef ZOO_ABORTS_ON_LOAD
[[gnu::constructor]] void AbortOnLoad() { std::abort(); }
#endif

}  // namespace

#ifndef ZOO_NO_ENTRY
extern "C" GANTRY_EXPORT const gantry_plugin* gantry_plugin_entry_v0(
    uint32_t, [[maybe_unused]] const char** why) {
#ifdef ZOO_REFUSES
  *why = "it needs minor 9";
  return nullptr;
#else
  return &kPlugin;
#endif
}
#endif
