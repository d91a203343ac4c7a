// SPDX-License-Identifier: Apache-2.0
// Questions to a filesystem, each a call or a few of them in a directory of its own, and what came of
// it as words: two filesystems are compared by their answers, and nobody has to say beforehand what is
// right. Answers hold nothing that differs from run to run (no times, no inode numbers).
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "host/base/fd.hpp"

namespace gantry::tests {

struct PosixProbe {
  const char* name;
  // `in`: its directory, empty and writable for all, with a slash at the end.
  std::function<std::string(const std::string& in)> ask;
};

std::vector<PosixProbe> OpenProbes();
std::vector<PosixProbe> NameProbes();
std::vector<PosixProbe> DataProbes();
std::vector<PosixProbe> AttributeProbes();
std::vector<PosixProbe> SharingProbes();

// The answers to all of them, by name, from below `top`, which is there.
std::map<std::string, std::string> AskAll(const std::filesystem::path& top);

// --- for probes

// What is asked one after the other. With + the compiler would choose the order.
class Words {
 public:
  Words& operator<<(std::string_view more) {
    text_ += more;
    return *this;
  }
  Words& operator<<(char more) {
    text_ += more;
    return *this;
  }
  operator std::string() const { return text_; }

 private:
  std::string text_;
};

// "ok" or the name of errno.
std::string Said(long result);
inline std::string Said(const base::UniqueFd& fd) { return Said(fd ? 0 : -1); }
std::string Said(const struct stat& found);  // type and mode in octal
base::UniqueFd OpenFile(const std::string& path, int flags, mode_t mode = 0644);
// A new file that holds this.
base::UniqueFd MakeFile(const std::string& path, std::string_view content = "content");
std::string ContentOf(const std::string& path);  // or the errno's name
std::string ContentOf(const base::UniqueFd& fd);
struct stat StatOf(const std::string& path);  // lstat; zeros where there is nothing
// What a child process says of the question: it may die.
std::string InChild(const std::function<std::string()>& ask);
// What a caller with these ids says of it.
std::string AsUser(uid_t uid, const std::function<std::string()>& ask);

}  // namespace gantry::tests
