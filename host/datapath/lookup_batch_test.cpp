// SPDX-License-Identifier: Apache-2.0
// A process that counts is stopped after each of its instructions, and what it leaves in memory each time
// is what a successor begins with; the successor's own work is stopped likewise.
#include "host/datapath/lookup_batch.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "host/base/fd.hpp"
#include "host/datapath/nodes.hpp"

namespace gantry::datapath {
namespace {

constexpr uint32_t kNodes = 16;
constexpr size_t kBatchAt = 0;  // of the memory; the head, then the records
constexpr size_t kTableAt = 2 * kPageBytes;
constexpr size_t kMemoryBytes = kTableAt + 2 * kPageBytes;  // all that changes
using Image = std::string;

class Memory {
 public:
  Memory()
      : fd_(memfd_create("batch", MFD_CLOEXEC)),
        nodes_(NodeTable::Attach(fd_.get(), kTableAt, kNodes).value()),
        mapping_(Mapping::Shared(fd_.get(), 0, kMemoryBytes).value()) {
    (void)nodes_.SetRoot("root");
  }
  explicit Memory(const Image& image)
      : fd_(memfd_create("batch", MFD_CLOEXEC)),
        nodes_((Fill(fd_.get(), image), NodeTable::Attach(fd_.get(), kTableAt, kNodes).value())),
        mapping_(Mapping::Shared(fd_.get(), 0, kMemoryBytes).value()) {}
  static void Fill(int fd, const Image& image) {
    if (pwrite(fd, image.data(), image.size(), 0) != static_cast<ssize_t>(image.size()))
      throw std::runtime_error("no memory");
  }

  NodeTable& nodes() { return nodes_; }
  LookupBatch batch() {
    char* const at = mapping_.data() + kBatchAt;
    return {*reinterpret_cast<BatchHead*>(at),
            std::span<BatchRecord, kBatchNodesMax>(
                reinterpret_cast<BatchRecord*>(at + sizeof(BatchRecord)), kBatchNodesMax)};
  }
  std::string_view bytes() const { return {mapping_.data(), kMemoryBytes}; }
  // By handle; what has no node has none.
  std::map<std::string, uint64_t> Lookups() {
    std::map<std::string, uint64_t> all;
    for (const char* handle : {"a", "b", "c"})
      if (const auto node = nodes_.Find(handle)) all[handle] = nodes_.Lookups(*node);
    return all;
  }

 private:
  base::UniqueFd fd_;
  NodeTable nodes_;
  Mapping mapping_;
};
static_assert(kBatchAt + sizeof(BatchRecord) + kBatchBytes <= kMemoryBytes);

// All that a process which does `work` leaves when it is killed after any of its instructions.
std::set<Image> Leavings(const Image& begin, const std::function<void(Memory&)>& work) {
  Memory memory(begin);
  const pid_t child = fork();
  if (child == 0) {
    if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(1);
    raise(SIGSTOP);
    work(memory);
    _exit(0);
  }
  std::set<Image> images = {begin};
  std::string last = begin;
  int status = 0;
  if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
    throw std::runtime_error("the child cannot be traced");
  for (;;) {
    ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr);
    if (waitpid(child, &status, 0) != child) throw std::runtime_error("the child is lost");
    if (!WIFSTOPPED(status)) break;
    if (memory.bytes() == last) continue;
    last = memory.bytes();
    images.insert(last);
  }
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  return images;
}

class LookupBatchTest : public ::testing::Test {
 protected:
  using Counts = std::map<std::string, uint64_t>;

  LookupBatchTest() {
    Memory memory;
    for (const auto& [handle, lookups] : before_) {
      Redo redo{};
      const uint32_t node = memory.nodes().Intern(handle).value();
      memory.nodes().Adjust(redo, node, static_cast<int64_t>(lookups), 0);
    }
    image_ = memory.bytes();
  }
  // A reply that names "a" twice and "c", which nobody had, once.
  static void Add(Memory& memory) {
    std::vector<uint32_t> nodes;
    for (const char* handle : {"a", "b", "c", "a"})
      nodes.push_back(memory.nodes().Intern(handle).value());
    memory.nodes().AddLookups(memory.batch(), nodes);
  }
  static void Recover(Memory& memory, bool answered) {
    memory.nodes().Finish(memory.batch());
    if (!answered) memory.nodes().TakeBack(memory.batch());
    memory.nodes().DropAllUnused();
  }

  const Counts before_ = {{"a", 3}, {"b", 7}};
  const Counts after_ = {{"a", 5}, {"b", 8}, {"c", 1}};
  Image image_;
};

TEST_F(LookupBatchTest, CountsANodeAsOftenAsTheReplyNamesIt) {
  Memory memory(image_);
  Add(memory);
  EXPECT_EQ(memory.Lookups(), after_);
  EXPECT_EQ(memory.batch().head.state, BatchState::kApplied);
  memory.nodes().TakeBack(memory.batch());
  EXPECT_EQ(memory.Lookups(), before_);
  memory.nodes().TakeBack(memory.batch());
  EXPECT_EQ(memory.Lookups(), before_);
}

TEST_F(LookupBatchTest, IsTakenBackWholeWhereverItsServersDied) {
  const auto left = Leavings(image_, &LookupBatchTest::Add);
  ASSERT_GT(left.size(), 10U) << "not stopped between its steps";
  size_t successors = 0;
  std::set<Image> seen;
  for (const Image& image : left)
    for (const Image& next :
         Leavings(image, [](Memory& memory) { Recover(memory, /*answered=*/false); })) {
      ++successors;
      if (!seen.insert(next).second) continue;
      Memory memory(next);
      Recover(memory, /*answered=*/false);
      ASSERT_EQ(memory.Lookups(), before_);
      Add(memory);
      ASSERT_EQ(memory.Lookups(), after_) << "asked anew";
    }
  EXPECT_GT(successors, 3 * left.size());
}

TEST_F(LookupBatchTest, StaysWhereTheKernelWasAnswered) {
  bool was_applied = false;
  for (const Image& image : Leavings(image_, &LookupBatchTest::Add)) {
    Memory applied(image);
    applied.nodes().Finish(applied.batch());
    // Before that no reply was written.
    if (applied.batch().head.state != BatchState::kApplied) continue;
    was_applied = true;
    for (const Image& next :
         Leavings(image, [](Memory& memory) { Recover(memory, /*answered=*/true); })) {
      Memory memory(next);
      Recover(memory, /*answered=*/true);
      ASSERT_EQ(memory.Lookups(), after_);
    }
  }
  EXPECT_TRUE(was_applied);
}

TEST_F(LookupBatchTest, HoldsAsManyNodesAsAReplyMayName) {
  base::UniqueFd fd(memfd_create("many", MFD_CLOEXEC));
  NodeTable nodes = NodeTable::Attach(fd.get(), 0).value();
  BatchHead head{};
  std::array<BatchRecord, kBatchNodesMax> records;
  std::vector<uint32_t> named;
  for (uint32_t i = 0; i < kBatchNodesMax; ++i)
    named.push_back(nodes.Intern("handle " + std::to_string(i)).value());
  const LookupBatch batch{head, records};
  nodes.AddLookups(batch, named);
  EXPECT_EQ(nodes.Count().lookups, kBatchNodesMax);
  nodes.TakeBack(batch);
  EXPECT_EQ(nodes.Count().nodes, 0U);
}

}  // namespace
}  // namespace gantry::datapath
