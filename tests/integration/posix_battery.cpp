// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/posix_battery.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <stdexcept>

#include "tests/integration/nfs_node.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
constexpr size_t kWordsBytesMax = 4096;

}  // namespace

std::map<std::string, std::string> AskAll(const fs::path& top) {
  std::map<std::string, std::string> answers;
  umask(022);
  for (const auto& probes :
       {OpenProbes(), NameProbes(), DataProbes(), AttributeProbes(), SharingProbes()}) {
    for (const PosixProbe& probe : probes) {
      const fs::path directory = top / probe.name;
      fs::create_directory(directory);
      if (chmod(directory.c_str(), 0777) != 0)
        throw std::runtime_error("chmod " + directory.string());
      answers[probe.name] = probe.ask(directory.string() + "/");
    }
  }
  return answers;
}

std::string Said(long result) {
  if (result >= 0) return "ok";
  const char* const name = strerrorname_np(errno);
  return name != nullptr ? name : std::to_string(errno);
}

std::string Said(const struct stat& found) {
  char text[16];
  std::snprintf(text, sizeof text, "%o", found.st_mode);
  return text;
}

base::UniqueFd OpenFile(const std::string& path, int flags, mode_t mode) {
  return base::UniqueFd(open(path.c_str(), flags | O_CLOEXEC, mode));
}

base::UniqueFd MakeFile(const std::string& path, std::string_view content) {
  base::UniqueFd fd = OpenFile(path, O_RDWR | O_CREAT | O_EXCL);
  if (!fd ||
      pwrite(fd.get(), content.data(), content.size(), 0) != static_cast<ssize_t>(content.size()))
    throw std::runtime_error("make " + path + ": " + Said(-1));
  return fd;
}

std::string ContentOf(const base::UniqueFd& fd) {
  std::string all;
  char piece[kWordsBytesMax];
  for (;;) {
    const ssize_t got = pread(fd.get(), piece, sizeof piece, static_cast<off_t>(all.size()));
    if (got < 0) return Said(-1);
    if (got == 0) return all;
    all.append(piece, static_cast<size_t>(got));
  }
}

std::string ContentOf(const std::string& path) {
  const base::UniqueFd fd = OpenFile(path, O_RDONLY);
  return fd ? ContentOf(fd) : Said(-1);
}

struct stat StatOf(const std::string& path) {
  struct stat found {};
  if (lstat(path.c_str(), &found) != 0) return {};
  return found;
}

std::string InChild(const std::function<std::string()>& ask) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  const pid_t child = fork();
  if (child == 0) {
    std::signal(SIGBUS, SIG_DFL);
    const std::string words = ask();
    _exit(write(ends[1], words.data(), words.size()) == static_cast<ssize_t>(words.size()) ? 0 : 1);
  }
  close(ends[1]);
  const base::UniqueFd from(ends[0]);
  std::string words(kWordsBytesMax, '\0');
  const ssize_t got = read(from.get(), words.data(), words.size());
  words.resize(got > 0 ? static_cast<size_t>(got) : 0);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) words += "killed by SIG" + std::string(sigabbrev_np(WTERMSIG(status)));
  return words;
}

std::string AsUser(uid_t uid, const std::function<std::string()>& ask) {
  std::string words;
  As(uid, uid, [&] { words = ask(); });
  return words;
}

}  // namespace gantry::tests
