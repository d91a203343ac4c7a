// SPDX-License-Identifier: Apache-2.0
// What tests share that kill what serves a volume while others want the same of it: blocks that are
// written again and again, and locks made of names.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace gantry::tests {

// Versions of one file's first blocks, each written, then read back past every cache, by a thread a
// block.
class BlockWriters {
 public:
  static constexpr size_t kBlocks = 4;

  explicit BlockWriters(const std::filesystem::path& file);
  ~BlockWriters();
  // False: one does not get on, or saw what it had not written.
  bool AllAdvance() const;
  // Ends them; fails the test that had an error.
  void Finish();
  // The last that were written.
  std::array<uint64_t, kBlocks> versions() const;
  // What a file's content shows.
  static std::array<uint64_t, kBlocks> VersionsIn(const std::string& content);

 private:
  class Writer;
  std::vector<std::unique_ptr<Writer>> writers_;
};

// Of names. Each of the two functions: 0, or the errno of what was refused.
struct Mutex {
  const char* name;
  std::function<int(const std::filesystem::path& lock, const std::filesystem::path& own)> acquire;
  std::function<int(const std::filesystem::path& lock)> release;
};
const Mutex& ExclusiveFileMutex();
const Mutex& DirectoryMutex();
const Mutex& LinkMutex();

// Threads of two nodes want the same lock while `disturb` is called with 0, 1, ...; fails the test when two
// hold it, or an answer is neither yes nor "it is held".
void FightFor(const Mutex& mutex, const std::array<std::filesystem::path, 2>& roots,
              int disturbances, const std::function<void(int)>& disturb);

}  // namespace gantry::tests
