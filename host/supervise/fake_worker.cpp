// SPDX-License-Identifier: Apache-2.0
// A worker without a plugin, for the tests of supervise/: it speaks the channel and does what each
// call's handle tells it (see Serve), or what the file given as --plugin tells it for its whole
// life (see Behaviour). Beside that file it writes <file>.log, what it lived through, and holds an
// flock on <file>.alone, which shows whether two workers ever lived at once.
#include <fcntl.h>
#include <gantry/channel.pb.h>
#include <poll.h>
#include <sys/file.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <thread>

#include "host/wire/channel.hpp"
#include "host/wire/job_reply.hpp"

namespace {

using namespace gantry;

constexpr int kChannelFd = 3;

// Words in the file: "mute-create", "refuse-create", "die-in-start", "deaf" (answers no ping),
// "ignore-end" (outlives the channel), "stubborn" (ignores STOP).
struct Behaviour {
  std::string words;
  bool Has(const std::string& word) const {
    return (" " + words + " ").find(" " + word + " ") != std::string::npos;
  }
};

// What the host takes of a call's emits beyond the credits that came with it.
struct Window {
  uint64_t credits = 0;
  bool stopped = false;
};

class FakeWorker final : public wire::Receiver {
 public:
  explicit FakeWorker(std::string file) : file_(std::move(file)) {
    std::ifstream in(file_);
    std::getline(in, behaviour_.words);
    const int alone = open((file_ + ".alone").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    Log(flock(alone, LOCK_EX | LOCK_NB) == 0 ? "alone" : "NOT ALONE");
  }

  int Run() {
    auto channel = wire::Channel::Create(base::UniqueFd(kChannelFd));
    if (!channel) return 1;
    channel_ = std::move(*channel);
    if (!channel_->Start(*this)) return 1;
    for (;;) pause();
  }

 private:
  void OnMessage(wire::Message message) override {
    switch (message.kind) {
      case wire::Kind::kPing:
        if (!behaviour_.Has("deaf"))
          (void)channel_->Send({wire::Kind::kPong, message.call_id, {}, {}, {}});
        return;
      case wire::Kind::kSecrets:
        secrets_[message.call_id] = std::string(message.secret.view());
        return;
      case wire::Kind::kCancel:
        Log("cancel");
        return;
      case wire::Kind::kCredit: {
        channel::Credit credit;
        credit.ParseFromString(message.payload);
        const std::lock_guard lock(mutex_);
        windows_[message.call_id].credits += credit.emits();
        windows_[message.call_id].stopped |= credit.stop();
        return;
      }
      case wire::Kind::kCall: {
        channel::Call call;
        call.ParseFromString(message.payload);
        // The reader must stay free for credits and cancels; each call has a thread.
        if (call.handle().empty() || call.handle() == "echo")
          Serve(message.call_id, call);
        else
          std::thread([this, id = message.call_id, call] { Serve(id, call); }).detach();
        return;
      }
      default:
        return;
    }
  }
  void OnClosed(const base::Error&) override {
    if (!behaviour_.Has("ignore-end")) _exit(0);
  }

  void Log(const std::string& line) {
    const std::string text = std::to_string(getpid()) + " " + line + "\n";
    const int fd = open((file_ + ".log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    [[maybe_unused]] const ssize_t n = write(fd, text.data(), text.size());
    close(fd);
  }

  void Emit(uint64_t id, const channel::Emit& emit) {
    (void)channel_->Send({wire::Kind::kEmit, id, emit.SerializeAsString(), {}, {}});
  }
  Window WindowOf(uint64_t id) {
    const std::lock_guard lock(mutex_);
    return windows_[id];
  }
  void EmitVolume(uint64_t id, const std::string& handle) {
    channel::Emit emit;
    emit.mutable_volume()->set_handle(handle);
    Emit(id, emit);
  }
  void Finish(uint64_t id, int code = 0, const std::string& text = {}) {
    channel::Finish finish;
    finish.set_code(code);
    finish.set_message(text);
    (void)channel_->Send({wire::Kind::kFinish, id, finish.SerializeAsString(), {}, {}});
  }
  [[noreturn]] void Die(const std::string& how) {
    if (how == "exit") _exit(3);
    if (how == "kill") (void)raise(SIGKILL);
    std::abort();
  }

  void ServeLife(uint64_t id, const channel::Call& call) {
    Log(channel::Operation_Name(call.operation()));
    if (call.operation() == channel::CREATE_INSTANCE) {
      if (behaviour_.Has("mute-create")) return;
      if (behaviour_.Has("refuse-create")) return Finish(id, 3, "config.server: nothing");
      channel::Emit emit;
      emit.mutable_description()->set_name("fake");
      emit.mutable_description()->add_slots("gantry.controller/1:get_volume");
      Emit(id, emit);
    }
    if (call.operation() == channel::START && behaviour_.Has("die-in-start")) Die("abort");
    if (call.operation() == channel::STOP && behaviour_.Has("stubborn")) return;
    Finish(id);
    if (call.operation() != channel::STOP) return;
    (void)channel_->Flush(std::chrono::steady_clock::now() + std::chrono::seconds(2));
    _exit(0);
  }

  // "echo": one volume "attempt-<n>". "<how>-always", "<how>-once" (how: abort, exit, kill): dies,
  // on every attempt or on the first. "never": no answer. "slow <ms>": finishes so late, cancelled
  // or not. "emit <n>": so many volumes, by credits. "flood <n>": without. "unreadable": an emit
  // that cannot be parsed. "code <n>". "say-and-die": words to stderr, then death. "last-words": finishes and dies at once. "secret": a volume
  // named by the secrets' bytes. "emit-and-die-once": one volume, then death.
  void Serve(uint64_t id, const channel::Call& call) {
    std::istringstream in(call.handle());
    std::string word;
    int number = 0;
    in >> word >> number;
    const std::string attempt = "attempt-" + std::to_string(call.attempt());
    if (word.empty()) return ServeLife(id, call);
    const size_t dash = word.find('-');
    const std::string how = word.substr(0, dash);
    if (how == "abort" || how == "exit" || how == "kill") {
      if (word.ends_with("-always") || call.attempt() == 1) Die(how);
    } else if (word == "say-and-die") {
      std::fputs("my last words\n", stderr);
      std::abort();
    } else if (word == "never") {
      return;
    } else if (word == "slow") {
      poll(nullptr, 0, number);
    } else if (word == "emit" || word == "flood") {
      for (int i = 0; i < number; ++i) {
        Window window = WindowOf(id);
        while (word == "emit" && !window.stopped &&
               static_cast<uint64_t>(i) >= call.credits() + window.credits) {
          poll(nullptr, 0, 1);
          window = WindowOf(id);
        }
        if (window.stopped) break;
        EmitVolume(id, "v" + std::to_string(1'000'000 + i));
      }
      return Finish(id);
    } else if (word == "unreadable") {
      // Field 1, a string inside a volume, that is not UTF-8.
      (void)channel_->Send({wire::Kind::kEmit, id, "\x12\x03\x0a\x01\xff", {}, {}});
    } else if (word == "code") {
      return Finish(id, number, "as told");
    } else if (word == "secret") {
      channel::Secrets secrets;
      secrets.ParseFromString(secrets_[id]);
      EmitVolume(id, secrets.values().at("password"));
      return Finish(id);
    } else if (word == "emit-and-die-once" && call.attempt() == 1) {
      for (int i = 0; i < 200; ++i) EmitVolume(id, "lost");
      (void)channel_->Flush(std::chrono::steady_clock::now() + std::chrono::seconds(2));
      Die("abort");
    }
    EmitVolume(id, attempt);
    Finish(id);
    if (word == "slow") Log("finished");
    if (word != "last-words") return;
    (void)channel_->Flush(std::chrono::steady_clock::now() + std::chrono::seconds(2));
    Die("kill");
  }

  const std::string file_;
  Behaviour behaviour_;
  std::unique_ptr<wire::Channel> channel_;
  std::map<uint64_t, std::string> secrets_;  // of one call at a time
  std::mutex mutex_;
  std::map<uint64_t, Window> windows_;  // by call
};

// As the throw-away process of a job; its name says how it answers.
int RunJob(const std::string& name) {
  std::string input;
  char buffer[65536];
  fcntl(kChannelFd, F_SETFL, fcntl(kChannelFd, F_GETFL) & ~O_NONBLOCK);
  for (ssize_t n = 0; (n = read(kChannelFd, buffer, sizeof buffer)) > 0;)
    input.append(buffer, static_cast<size_t>(n));
  const auto answer = [](uint32_t magic, int32_t code, uint64_t length, const std::string& text) {
    const wire::JobReply reply{magic, code, length};
    std::string all(reinterpret_cast<const char*>(&reply), sizeof reply);
    all += text;
    for (size_t at = 0; at < all.size();) {
      const ssize_t n = write(kChannelFd, all.data() + at, all.size() - at);
      if (n <= 0) return 1;
      at += static_cast<size_t>(n);
    }
    return 0;
  };
  if (name == "echo") return answer(wire::kJobReplyMagic, 0, input.size(), input);
  if (name == "refuse") return answer(wire::kJobReplyMagic, 9, 0, "");
  if (name == "no-code") return answer(wire::kJobReplyMagic, 99, 0, "");
  if (name == "garbage") return answer(0x12345678, 0, 3, "abc");
  if (name == "short") return answer(wire::kJobReplyMagic, 0, 10, "abc");
  if (name == "crash") std::abort();
  if (name == "flood")
    while (answer(wire::kJobReplyMagic, 0, 1 << 20, std::string(1 << 20, 'x')) == 0) {
    }
  if (name == "hang")
    for (;;) pause();
  return 0;  // "silent"
}

}  // namespace

int main(int argc, char** argv) {
  std::string plugin;
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::string(argv[i]) == "--plugin") plugin = argv[i + 1];
    if (std::string(argv[i]) == "--job") return RunJob(argv[i + 1]);
  }
  static FakeWorker worker(plugin);  // its threads may outlive main
  return worker.Run();
}
