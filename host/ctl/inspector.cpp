// SPDX-License-Identifier: Apache-2.0
#include "host/ctl/inspector.hpp"

#include <fcntl.h>
#include <gantry/channel.pb.h>
#include <gantry/plugin.h>
#include <openssl/evp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "host/base/file.hpp"
#include "host/base/process.hpp"
#include "host/base/temp_dir.hpp"
#include "host/wire/channel.hpp"
#include "host/wire/log_pipe.hpp"
#include "host/wire/socket_pair.hpp"

namespace gantry::ctl {
namespace {

using base::Code;
using ::gantry::admin::v1::PluginReport;

constexpr size_t kPluginBytesMax = 512U << 20;
constexpr size_t kEmitsMax = 16;
constexpr size_t kLogLinesMax = 50;
constexpr unsigned kNobody = 65534;
constexpr std::chrono::milliseconds kReapMsMax{2000};

// What is looked at is what was digested: the file may be replaced meanwhile.
base::Status CopyAndDigest(const std::filesystem::path& from, const std::filesystem::path& to,
                           PluginReport& report) {
  const base::UniqueFd in(open(from.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!in) return base::FailErrno(errno, "open " + from.string());
  struct stat status {};
  if (fstat(in.get(), &status) != 0) return base::FailErrno(errno, "stat " + from.string());
  if (!S_ISREG(status.st_mode))
    return base::Fail(Code::kInvalidArgument, from.string() + ": expected a regular file");
  const base::UniqueFd out(open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0555));
  if (!out) return base::FailErrno(errno, "open " + to.string());
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> digest(EVP_MD_CTX_new(),
                                                                  &EVP_MD_CTX_free);
  EVP_DigestInit_ex(digest.get(), EVP_sha256(), nullptr);
  constexpr size_t kChunkBytes = 256 * 1024;
  std::vector<char> chunk(kChunkBytes);
  uint64_t size = 0;
  for (;;) {
    const ssize_t n = read(in.get(), chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::FailErrno(errno, "read " + from.string());
    if (n == 0) break;
    size += static_cast<uint64_t>(n);
    if (size > kPluginBytesMax)
      return base::Fail(Code::kInvalidArgument, from.string() + ": larger than 512 MiB");
    EVP_DigestUpdate(digest.get(), chunk.data(), static_cast<size_t>(n));
    GANTRY_TRY(base::WriteAll(out.get(), {chunk.data(), static_cast<size_t>(n)}));
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> hash{};
  unsigned length = 0;
  EVP_DigestFinal_ex(digest.get(), hash.data(), &length);
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex;
  for (unsigned i = 0; i < length; ++i) {
    hex += kDigits[hash[i] >> 4];
    hex += kDigits[hash[i] & 15];
  }
  report.set_sha256(hex);
  report.set_size_bytes(size);
  return {};
}

// The throw-away worker: spoken to, listened to, and gone at the end with all it forked.
class Guinea final : public wire::Receiver {
 public:
  ~Guinea() override {
    if (channel_) channel_->Close();
    // Not reaped yet, so the number of its session and group is still its own.
    if (child_) kill(-child_.pid(), SIGKILL);
    child_ = base::Child();
    if (log_thread_.joinable()) log_thread_.join();
  }

  base::Status Start(const InspectOptions& options, const std::filesystem::path& plugin) {
    deadline_ = std::chrono::steady_clock::now() + options.timeout;
    GANTRY_TRY_ASSIGN(const auto binary, base::PinnedBinary::Open(options.worker));
    GANTRY_TRY_ASSIGN(auto pair, wire::MakeChannelPair());
    GANTRY_TRY_ASSIGN(auto log, wire::MakeLogPipe());
    const base::UniqueFd lease(memfd_create("lease", MFD_CLOEXEC));
    base::SpawnOptions spawn;
    spawn.arguments = {"gantry-worker",
                       "--backend",
                       "inspect",
                       "--plugin",
                       plugin,
                       "--uid",
                       std::to_string(kNobody),
                       "--gid",
                       std::to_string(kNobody)};
    spawn.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"};
    spawn.pass_fds = {pair.theirs.get(), log.writer.get(), lease.get()};
    spawn.stderr_fd = log.writer.get();
    spawn.new_session = true;
    GANTRY_TRY_ASSIGN(child_, base::Spawn(binary, spawn));
    log_ = std::make_unique<wire::LogPipeReader>(
        std::move(log.reader), [this](const wire::LogRecord& record) {
          const std::lock_guard lock(mutex_);
          if (lines_.size() < kLogLinesMax)
            lines_.push_back(std::string(wire::LogLevelName(record.level)) + ": " + record.text);
        });
    log_thread_ = std::thread([this] { ReadLog(); });
    wire::ChannelOptions channel_options;
    channel_options.accept_fds = false;
    GANTRY_TRY_ASSIGN(channel_, wire::Channel::Create(std::move(pair.ours), channel_options));
    return channel_->Start(*this);
  }

  struct Answer {
    std::optional<channel::Description> description;
    Code code = Code::kOk;
    std::string message;
  };
  // UNAVAILABLE: it died; DEADLINE_EXCEEDED: it hangs.
  base::Result<Answer> Ask(const channel::Call& call) {
    wire::Message out;
    out.kind = wire::Kind::kCall;
    {
      const std::lock_guard lock(mutex_);
      out.call_id = ++asked_;
      answer_ = {};
      has_answer_ = false;
    }
    out.payload = call.SerializeAsString();
    const auto sent = channel_->Send(std::move(out));
    std::unique_lock lock(mutex_);
    if (sent) changed_.wait_until(lock, deadline_, [&] { return has_answer_ || is_closed_; });
    if (has_answer_) return answer_;
    lock.unlock();
    if (sent && std::chrono::steady_clock::now() >= deadline_)
      return base::Fail(Code::kDeadlineExceeded, "it does not answer: killed");
    return base::Fail(Code::kUnavailable, "its process " + End());
  }

  std::vector<std::string> Log() {
    const std::lock_guard lock(mutex_);
    return lines_;
  }

 private:
  void ReadLog() {
    for (;;) {
      pollfd wait{log_->fd(), POLLIN, 0};
      constexpr int kLookMs = 200;
      poll(&wait, 1, kLookMs);
      const auto more = log_->ReadAvailable();
      if (!more || !*more) return;
      // Something it forked into another session may hold the pipe open for ever.
      const std::lock_guard lock(mutex_);
      if (is_closed_ && wait.revents == 0) return;
    }
  }

  std::string End() {
    auto status = child_.Wait(kReapMsMax);
    if (!status || !*status) return "closed its channel and lives on";
    return (*status)->Describe();
  }

  void OnMessage(wire::Message message) override {
    const std::lock_guard lock(mutex_);
    if (message.kind == wire::Kind::kHostCall) return;  // nobody serves it; it has a deadline
    if (message.call_id != asked_) return;
    if (message.kind == wire::Kind::kEmit && ++emits_ <= kEmitsMax) {
      channel::Emit emit;
      if (emit.ParseFromString(message.payload) && emit.has_description())
        answer_.description = emit.description();
    }
    if (message.kind != wire::Kind::kFinish) return;
    channel::Finish finish;
    if (finish.ParseFromString(message.payload)) {
      answer_.code = static_cast<Code>(finish.code());
      answer_.message = finish.message();
    } else {
      answer_.code = Code::kUnavailable;
      answer_.message = "an unreadable answer";
    }
    has_answer_ = true;
    changed_.notify_all();
  }
  void OnClosed(const base::Error&) override {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
    changed_.notify_all();
  }

  std::chrono::steady_clock::time_point deadline_;
  base::Child child_;
  std::unique_ptr<wire::LogPipeReader> log_;
  std::unique_ptr<wire::Channel> channel_;
  std::thread log_thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> lines_;
  Answer answer_;
  uint64_t asked_ = 0;
  size_t emits_ = 0;
  bool has_answer_ = false;
  bool is_closed_ = false;
};

std::string ThreadModelName(int32_t model) {
  constexpr std::array<const char*, 3> kNames{"serial", "per-volume", "parallel"};
  return model >= 0 && static_cast<size_t>(model) < kNames.size()
             ? kNames[static_cast<size_t>(model)]
             : std::to_string(model);
}

void Describe(const channel::Description& from, PluginReport& to) {
  to.set_name(from.name());
  to.set_version(from.version());
  to.set_abi(std::to_string(from.abi_major()) + "." + std::to_string(from.abi_minor()));
  to.set_csi_min(from.csi_min());
  to.set_csi_max(from.csi_max());
  to.set_thread_model(ThreadModelName(from.thread_model()));
  to.set_calls_max(from.calls_max());
  const std::map<int, const char*> modes{
      {GANTRY_SINGLE_NODE_WRITER, "SINGLE_NODE_WRITER"},
      {GANTRY_SINGLE_NODE_READER_ONLY, "SINGLE_NODE_READER_ONLY"},
      {GANTRY_MULTI_NODE_READER_ONLY, "MULTI_NODE_READER_ONLY"},
      {GANTRY_MULTI_NODE_SINGLE_WRITER, "MULTI_NODE_SINGLE_WRITER"},
      {GANTRY_MULTI_NODE_MULTI_WRITER, "MULTI_NODE_MULTI_WRITER"},
      {GANTRY_SINGLE_NODE_SINGLE_WRITER, "SINGLE_NODE_SINGLE_WRITER"},
      {GANTRY_SINGLE_NODE_MULTI_WRITER, "SINGLE_NODE_MULTI_WRITER"}};
  for (const auto& [mode, name] : modes)
    if ((from.access_modes() & GANTRY_ACCESS_MODE_BIT(mode)) != 0) to.add_access_modes(name);
  if ((from.access_types() & GANTRY_ACCESS_TYPE_BIT(GANTRY_ACCESS_MOUNT)) != 0)
    to.add_access_types("mount");
  if ((from.access_types() & GANTRY_ACCESS_TYPE_BIT(GANTRY_ACCESS_BLOCK)) != 0)
    to.add_access_types("block");
  *to.mutable_topology_keys() = from.topology_keys();
  *to.mutable_needs() = from.needs();
  to.set_record_format_min(from.record_format_min());
  to.set_record_format_max(from.record_format_max());
  to.set_context_format_min(from.context_format_min());
  to.set_context_format_max(from.context_format_max());
  to.set_config_schema(from.config_schema());
}

std::string Sentence(const base::Error& error) {
  return base::CodeName(error.code) + ": " + error.message;
}

void Examine(Guinea& guinea, const InspectOptions& options, PluginReport& report) {
  channel::Call call;
  call.set_operation(channel::DESCRIBE);
  const auto end = std::chrono::steady_clock::now() + options.timeout;
  call.set_deadline_ns(
      std::chrono::duration_cast<std::chrono::nanoseconds>(end.time_since_epoch()).count());
  call.set_attempt(1);
  call.set_credits(kEmitsMax);
  const auto described = guinea.Ask(call);
  if (!described) return report.set_error(Sentence(described.error()));
  if (described->code != Code::kOk)
    return report.set_error(Sentence({described->code, described->message}));
  if (!described->description) return report.set_error("it told nothing of itself");
  report.set_loads(true);
  Describe(*described->description, report);
  // What it offers is an instance's to say; making one touches no storage (plugin.h).
  call.set_operation(channel::CREATE_INSTANCE);
  auto& instance = *call.mutable_instance();
  instance.set_backend("inspect");
  instance.set_owner("inspect");
  instance.set_roles(GANTRY_ROLE_CONTROLLER | GANTRY_ROLE_NODE);
  instance.set_config_json(options.config_json);
  instance.set_node_id("inspect");
  const auto created = guinea.Ask(call);
  if (!created) return report.set_capabilities_error(Sentence(created.error()));
  if (created->code != Code::kOk)
    return report.set_capabilities_error(Sentence({created->code, created->message}));
  if (created->description) *report.mutable_capabilities() = created->description->slots();
}

}  // namespace

base::Result<PluginReport> InspectPlugin(const InspectOptions& options) {
  PluginReport report;
  report.set_file(options.plugin);
  const base::TempDir directory;
  // The worker reads it under a uid of its own.
  std::filesystem::permissions(directory.path(), std::filesystem::perms(0755));
  const auto copy = directory.path() / "plugin.so";
  GANTRY_TRY(CopyAndDigest(options.plugin, copy, report));
  Guinea guinea;
  GANTRY_TRY(guinea.Start(options, copy));
  Examine(guinea, options, report);
  for (auto& line : guinea.Log()) report.add_log(std::move(line));
  return report;
}

}  // namespace gantry::ctl
