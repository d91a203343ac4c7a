// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/survival_load.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "host/base/fd.hpp"
#include "host/base/file.hpp"
#include "host/base/process.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBlockBytes = 4096;
constexpr size_t kOutputBytesMax = 1 << 20;
constexpr int kTransactions = 20;

std::string Found(const std::string& what, int error_number) {
  return what + ": " + (error_number == 0 ? "succeeded" : strerror(error_number));
}

int ErrnoOf(int result) { return result == 0 ? 0 : errno; }

}  // namespace

void Worker::Begin() {
  thread_ = std::thread([this] {
    while (!stop_) {
      std::string error = Round(rounds_);
      if (!error.empty()) {
        const std::lock_guard lock(mutex_);
        error_ = "round " + std::to_string(rounds_) + ": " + std::move(error);
        return;
      }
      ++rounds_;
    }
  });
}

void Worker::Stop() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

std::string Worker::error() const {
  const std::lock_guard lock(mutex_);
  return error_;
}

MetadataLoop::MetadataLoop(fs::path directory) : directory_(std::move(directory)) {
  if (mkdir(directory_.c_str(), 0755) != 0)
    throw std::runtime_error("mkdir " + directory_.string());
  Begin();
}

std::string MetadataLoop::Round(uint64_t number) {
  // This thread's fds are its own: a program that another one is just starting would have a copy of what is
  // open here until it is executed, and a removed file would not be gone for so long.
  constexpr unsigned kFirstFd = 3;
  if (number == 0 && close_range(kFirstFd, ~0U, CLOSE_RANGE_UNSHARE) != 0)
    return Found("close_range", errno);
  const std::string base = (directory_ / std::to_string(number)).string();
  const std::string file = base + "/file", link_name = base + "/link", moved = base + "/moved";
  const std::string symbolic = base + "/symbolic", content = "content " + std::to_string(number);
  std::string error;
  const auto expect = [&](const char* what, int error_number, int expected) {
    if (error.empty() && error_number != expected)
      error = Found(what, error_number) + ", expected " +
              (expected == 0 ? "success" : strerror(expected));
  };
  struct stat found {};
  expect("mkdir", ErrnoOf(mkdir(base.c_str(), 0755)), 0);
  expect("mkdir again", ErrnoOf(mkdir(base.c_str(), 0755)), EEXIST);
  {
    const base::UniqueFd fd(open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640));
    expect("create", fd ? 0 : errno, 0);
    const base::UniqueFd again(open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640));
    expect("create again", again ? 0 : errno, EEXIST);
    if (!error.empty()) return error;
    const auto length = static_cast<ssize_t>(content.size());
    expect("write", write(fd.get(), content.data(), content.size()) == length ? 0 : errno, 0);
    expect("link", ErrnoOf(link(file.c_str(), link_name.c_str())), 0);
    expect("link again", ErrnoOf(link(file.c_str(), link_name.c_str())), EEXIST);
    expect("fstat", ErrnoOf(fstat(fd.get(), &found)), 0);
  }
  if (error.empty() && found.st_nlink != 2)
    error = "a file has " + std::to_string(found.st_nlink) + " links, expected 2";
  expect("rename", ErrnoOf(rename(file.c_str(), moved.c_str())), 0);
  expect("rename again", ErrnoOf(rename(file.c_str(), moved.c_str())), ENOENT);
  expect("stat", ErrnoOf(stat(moved.c_str(), &found)), 0);
  if (error.empty() && found.st_size != static_cast<off_t>(content.size()))
    error = "a file has " + std::to_string(found.st_size) + " bytes";
  const auto read_back = base::ReadFile(moved, kBlockBytes);
  if (error.empty() && (!read_back || *read_back != content)) error = "a file has other content";
  expect("truncate", ErrnoOf(truncate(moved.c_str(), 3)), 0);
  expect("symlink", ErrnoOf(symlink("moved", symbolic.c_str())), 0);
  expect("symlink again", ErrnoOf(symlink("moved", symbolic.c_str())), EEXIST);
  expect("stat through it", ErrnoOf(stat(symbolic.c_str(), &found)), 0);
  if (error.empty() && found.st_size != 3) error = "a truncated file has another size";
  expect("rmdir of a full directory", ErrnoOf(rmdir(base.c_str())), ENOTEMPTY);
  for (const auto& name : {symbolic, moved, link_name}) {
    expect("unlink", ErrnoOf(unlink(name.c_str())), 0);
    expect("unlink again", ErrnoOf(unlink(name.c_str())), ENOENT);
  }
  expect("rmdir", ErrnoOf(rmdir(base.c_str())), 0);
  expect("rmdir again", ErrnoOf(rmdir(base.c_str())), ENOENT);
  return error;
}

Probe::Probe(const fs::path& file)
    : fd_(open(file.c_str(), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0644)),
      block_(static_cast<char*>(std::aligned_alloc(kBlockBytes, kBlockBytes))) {
  if (fd_ < 0) throw std::runtime_error(Found("open " + file.string(), errno));
  Begin();
}

Probe::~Probe() {
  Stop();
  close(fd_);
  std::free(block_);
}

template <class Operation>
bool Probe::Timed(Operation&& operation) {
  const auto begin = std::chrono::steady_clock::now();
  const ssize_t length = operation();
  const int64_t took_ns = (std::chrono::steady_clock::now() - begin).count();
  int64_t longest_ns = longest_ns_;
  while (took_ns > longest_ns && !longest_ns_.compare_exchange_weak(longest_ns, took_ns)) {
  }
  return length == static_cast<ssize_t>(kBlockBytes);
}

std::string Probe::Round(uint64_t number) {
  std::memset(block_, static_cast<int>('a' + number % 26), kBlockBytes);
  if (!Timed([&] { return pwrite(fd_, block_, kBlockBytes, 0); })) return Found("pwrite", errno);
  std::memset(block_, 0, kBlockBytes);
  if (!Timed([&] { return pread(fd_, block_, kBlockBytes, 0); })) return Found("pread", errno);
  const bool same = std::all_of(block_, block_ + kBlockBytes,
                                [&](char c) { return c == static_cast<char>('a' + number % 26); });
  return same ? "" : "a block has other content than was written";
}

std::string RunProgram(const std::vector<std::string>& command, const fs::path& output,
                       std::chrono::seconds time_max) {
  const base::UniqueFd out(open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  base::SpawnOptions options;
  // By env(1), which looks for the program in PATH.
  options.arguments = {"env"};
  options.arguments.insert(options.arguments.end(), command.begin(), command.end());
  options.environment = {"PATH=" + std::string(std::getenv("PATH")), "HOME=/tmp", "LC_ALL=C"};
  options.stdout_fd = options.stderr_fd = out.get();
  auto child = base::SpawnProgram("/usr/bin/env", options);
  if (!child) return child.error().message;
  const auto ended = child->Wait(time_max);
  if (ended && ended->has_value() && (*ended)->signal == 0 && (*ended)->code == 0) return "";
  const auto said = base::ReadFile(output, kOutputBytesMax);
  std::string how = "does not end";
  if (!ended) how = ended.error().message;
  if (ended && ended->has_value()) how = (*ended)->Describe();
  return command.front() + " " + how + ": " + (said ? *said : "");
}

ProgramLoop::ProgramLoop(std::vector<std::string> command, fs::path output,
                         std::chrono::seconds round_max)
    : command_(std::move(command)), output_(std::move(output)), round_max_(round_max) {
  Begin();
}

std::string ProgramLoop::Round(uint64_t) { return RunProgram(command_, output_, round_max_); }

std::vector<std::string> FioCommand(const fs::path& directory) {
  return {"fio",
          "--name=survival",
          "--directory=" + directory.string(),
          "--rw=randwrite",
          "--bs=4k",
          "--size=8m",
          "--numjobs=2",
          "--iodepth=8",
          "--ioengine=libaio",
          "--direct=1",
          "--verify=crc32c",
          "--verify_fatal=1",
          "--verify_state_save=0",
          "--randrepeat=0",
          "--thread",
          "--group_reporting",
          "--clocksource=clock_gettime",
          "--minimal"};
}

std::vector<std::string> SqliteCommand(const fs::path& database) {
  std::string script =
      "CREATE TABLE IF NOT EXISTS account(id INTEGER PRIMARY KEY, amount INTEGER, "
      "CHECK (amount > -1000000000));"
      "INSERT OR IGNORE INTO account VALUES (1, 1000), (2, 1000);";
  for (int i = 0; i < kTransactions; ++i)
    script +=
        "BEGIN IMMEDIATE; UPDATE account SET amount = amount - 7 WHERE id = 1;"
        "UPDATE account SET amount = amount + 7 WHERE id = 2; COMMIT;";
  // Divided by zero is NULL in SQLite, so the check is a constraint.
  script +=
      "CREATE TEMP TABLE must(total INTEGER CHECK (total = 2000));"
      "INSERT INTO must SELECT sum(amount) FROM account;"
      "CREATE TEMP TABLE sound(answer TEXT CHECK (answer = 'ok'));"
      "INSERT INTO sound SELECT integrity_check FROM pragma_integrity_check;";
  return {"sqlite3", "-bail", "-cmd", ".timeout 60000", database.string(), script};
}

}  // namespace gantry::tests
