// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/worker_process.hpp"

#include <csi_lite.pb.h>
#include <fcntl.h>
#include <gantry/abi.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <stdexcept>

#include "host/wire/socket_pair.hpp"
#include "tests/lab/sanitizer_report.hpp"

namespace gantry::testing {
namespace {

template <class T>
T Must(base::Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}
void Must(const base::Status& status) {
  if (!status) throw std::runtime_error(status.error().message);
}

std::filesystem::path BuildDirectory() {
  const char* directory = std::getenv("GANTRY_BUILD_DIR");
  return directory != nullptr ? directory : std::filesystem::current_path().string();
}

}  // namespace

std::filesystem::path WorkerProcess::Binary() { return BuildDirectory() / "bin" / "gantry-worker"; }

std::filesystem::path WorkerProcess::ZooPath(const std::string& name) {
  return BuildDirectory() / "tests" / "zoo" / (name + ".so");
}

WorkerProcess::WorkerProcess(const std::string& zoo_plugin, std::vector<std::string> extra)
    : lease_(memfd_create("lease", MFD_CLOEXEC)) {
  auto binary = Must(base::PinnedBinary::Open(Binary()));
  auto pair = Must(wire::MakeChannelPair());
  auto log = Must(wire::MakeLogPipe());
  base::SpawnOptions options;
  options.arguments = {"gantry-worker",
                       "--backend",
                       "zoo-1",
                       "--plugin",
                       ZooPath(zoo_plugin),
                       "--uid",
                       std::to_string(kPluginUid),
                       "--gid",
                       std::to_string(kPluginGid)};
  options.arguments.insert(options.arguments.end(), extra.begin(), extra.end());
  options.environment = lab::SanitizerEnvironment();
  options.pass_fds = {pair.theirs.get(), log.writer.get(), lease_.get()};
  options.stderr_fd = log.writer.get();
  child_ = Must(base::Spawn(binary, options));
  log_reader_ =
      std::make_unique<wire::LogPipeReader>(std::move(log.reader), [this](wire::LogRecord record) {
        std::lock_guard lock(mutex_);
        log_ += std::string(wire::LogLevelName(record.level)) + ": " + record.text + "\n";
        changed_.notify_all();
      });
  wire::ChannelOptions channel_options;
  channel_options.accept_fds = false;
  channel_ = Must(wire::Channel::Create(std::move(pair.ours), channel_options));
  Must(channel_->Start(*this));
  log_thread_ = std::thread([this] { ReadLog(); });
}

WorkerProcess::~WorkerProcess() {
  channel_->Close();
  child_ = base::Child();  // ends and reaps it, which ends its log
  log_thread_.join();
  // A sanitizer in the worker speaks by its log alone.
  EXPECT_EQ(lab::SanitizerReport(log_), "");
}

void WorkerProcess::ReadLog() {
  while (true) {
    pollfd wait{log_reader_->fd(), POLLIN, 0};
    (void)poll(&wait, 1, -1);
    const auto more = log_reader_->ReadAvailable();
    if (more && *more) continue;
    std::lock_guard lock(mutex_);
    log_ended_ = true;
    changed_.notify_all();
    return;
  }
}

uint64_t WorkerProcess::Send(channel::Call call,
                             const std::map<std::string, std::string>& secrets) {
  uint64_t id = 0;
  {
    std::lock_guard lock(mutex_);
    id = ++last_id_;
    outcomes_[id];
  }
  if (call.credits() == 0) call.set_credits(1000);
  if (!secrets.empty()) {
    call.set_has_secrets(true);
    channel::Secrets message;
    message.mutable_values()->insert(secrets.begin(), secrets.end());
    wire::Message out;
    out.kind = wire::Kind::kSecrets;
    out.call_id = id;
    out.secret = base::SecretBytes(message.SerializeAsString());
    Must(channel_->Send(std::move(out)));
  }
  wire::Message out;
  out.kind = wire::Kind::kCall;
  out.call_id = id;
  out.payload = call.SerializeAsString();
  Must(channel_->Send(std::move(out)));
  return id;
}

uint64_t WorkerProcess::Send(channel::Operation operation) {
  channel::Call call;
  call.set_operation(operation);
  return Send(std::move(call));
}

Outcome WorkerProcess::Await(uint64_t id) {
  (void)Wait([&] { return outcomes_[id].code >= 0; });
  std::lock_guard lock(mutex_);
  return outcomes_[id];
}

bool WorkerProcess::AwaitEmits(uint64_t id, size_t count) {
  return Wait([&] { return outcomes_[id].emits.size() >= count; });
}

Outcome WorkerProcess::Create() {
  channel::Call call;
  call.set_operation(channel::CREATE_INSTANCE);
  call.mutable_instance()->set_backend("zoo-1");
  call.mutable_instance()->set_config_json("{}");
  return Run(std::move(call));
}

void WorkerProcess::Cancel(uint64_t id) {
  wire::Message out;
  out.kind = wire::Kind::kCancel;
  out.call_id = id;
  Must(channel_->Send(std::move(out)));
}

void WorkerProcess::Credit(uint64_t id, uint32_t emits, bool stop) {
  channel::Credit credit;
  credit.set_emits(emits);
  credit.set_stop(stop);
  wire::Message out;
  out.kind = wire::Kind::kCredit;
  out.call_id = id;
  out.payload = credit.SerializeAsString();
  Must(channel_->Send(std::move(out)));
}

bool WorkerProcess::Ping() {
  uint64_t before = 0;
  {
    std::lock_guard lock(mutex_);
    before = pongs_;
  }
  wire::Message out;
  out.kind = wire::Kind::kPing;
  out.call_id = before + 1;
  if (!channel_->Send(std::move(out))) return false;
  return Wait([&] { return pongs_ > before; });
}

void WorkerProcess::OnHostCall(HostCallHandler handler) {
  std::lock_guard lock(mutex_);
  on_host_call_ = std::move(handler);
}

bool WorkerProcess::AwaitLog(const std::string& text) {
  return Wait([&] { return log_.find(text) != std::string::npos || log_ended_; }) &&
         Log().find(text) != std::string::npos;
}

std::string WorkerProcess::Log() {
  std::lock_guard lock(mutex_);
  return log_;
}

base::ExitStatus WorkerProcess::AwaitExit() {
  auto status = Must(child_.Wait(kPatience));
  if (!status) throw std::runtime_error("the worker does not end");
  (void)Wait([&] { return log_ended_; });
  return *status;
}

std::string WorkerProcess::StatusField(const std::string& name) const {
  std::ifstream file("/proc/" + std::to_string(child_.pid()) + "/status");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(name + ":", 0) != 0) continue;
    std::string value = line.substr(name.size() + 1);
    for (char& c : value)
      if (c == '\t') c = ' ';
    const size_t first = value.find_first_not_of(' ');
    return first == std::string::npos
               ? ""
               : value.substr(first, value.find_last_not_of(' ') - first + 1);
  }
  return "no such field";
}

void WorkerProcess::OnMessage(wire::Message message) {
  std::unique_lock lock(mutex_);
  switch (message.kind) {
    case wire::Kind::kPong:
      ++pongs_;
      break;
    case wire::Kind::kEmit: {
      channel::Emit emit;
      if (emit.ParseFromString(message.payload))
        outcomes_[message.call_id].emits.push_back(std::move(emit));
      break;
    }
    case wire::Kind::kFinish: {
      channel::Finish finish;
      if (!finish.ParseFromString(message.payload)) break;
      outcomes_[message.call_id].code = finish.code();
      outcomes_[message.call_id].message = finish.message();
      break;
    }
    case wire::Kind::kHostCall: {
      channel::HostCall call;
      if (!call.ParseFromString(message.payload) || !on_host_call_) break;
      const auto reply = on_host_call_(call);
      if (!reply) break;
      wire::Message out;
      const bool is_secret = call.has_secret_get() && reply->code() == GANTRY_OK;
      out.kind = is_secret ? wire::Kind::kSecretReply : wire::Kind::kHostReply;
      out.call_id = message.call_id;
      if (is_secret)
        out.secret = base::SecretBytes(reply->value());
      else
        out.payload = reply->SerializeAsString();
      (void)channel_->Send(std::move(out));
      break;
    }
    default:
      break;
  }
  changed_.notify_all();
}

void WorkerProcess::OnClosed(const base::Error&) {
  // Whoever waits for an answer that will not come: it has ended, without a code.
  std::lock_guard lock(mutex_);
  for (auto& [id, outcome] : outcomes_)
    if (outcome.code < 0) outcome = {1000, "the worker is gone", std::move(outcome.emits)};
  changed_.notify_all();
}

channel::Call CreateVolume(const std::string& name, const std::string& server) {
  lite::csi::v1::CreateVolumeRequest request;
  request.set_name(name);
  (*request.mutable_parameters())["server"] = server;
  (*request.mutable_parameters())["csi.storage.k8s.io/pvc/name"] = "data";
  channel::Call call;
  call.set_operation(channel::CREATE_VOLUME);
  call.set_request(request.SerializeAsString());
  call.set_key("0123");
  call.set_attempt(1);
  return call;
}

channel::Call DeleteVolume(const std::string& handle) {
  channel::Call call;
  call.set_operation(channel::DELETE_VOLUME);
  call.set_handle(handle);
  return call;
}

}  // namespace gantry::testing
