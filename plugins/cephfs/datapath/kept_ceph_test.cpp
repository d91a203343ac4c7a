// SPDX-License-Identifier: Apache-2.0
// What is kept of a real cluster's inodes: what the host knows, and no more, since of anything else no
// forget comes and its space and capabilities would stay taken.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <functional>
#include <memory>
#include <string>

#include "plugins/cephfs/datapath/testing/path.hpp"
#include "tests/lab/ceph.hpp"

namespace gantry::cephfs {
namespace {

using test::Ended;
using test::Path;

class Kept : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto started = lab::Ceph::Start();
    ASSERT_TRUE(started) << started.error().message;
    ceph_ = new lab::Ceph(std::move(*started));
    path_ = new Path({ceph_->monitor(), ceph_->filesystem(), ceph_->admin_key()}, "node", true);
  }
  // The path is left: its end would wait for the cluster's.
  static void TearDownTestSuite() {
    delete ceph_;
    ceph_ = nullptr;
  }

  // Begins it, and gives it up before it can be told. Its work has ended when this comes back.
  static void GiveUp(const std::function<void(Path&)>& change) {
    gantry_op op = 0;
    change(path_->Begun(&op));
    (*path_)->Interrupt(op);
    EXPECT_EQ(path_->host().Wait(op).error_number, EINTR);
    // A change of the same directory is not begun before.
    const std::string name = New("after");
    path_->Forget(path_->Create(name, 1).node);
    EXPECT_EQ(path_->Unlink(name).error_number, 0);
  }
  static bool WaitSwept() {
    return path_->host().WaitUntil([] { return (*path_)->IsSwept(); });
  }
  static std::string New(const char* what) { return what + std::to_string(++number_); }

  static lab::Ceph* ceph_;
  static Path* path_;
  static int number_;
};
lab::Ceph* Kept::ceph_ = nullptr;
Path* Kept::path_ = nullptr;
int Kept::number_ = 0;

TEST_F(Kept, AreNodesThatWereToldUntilTheyAreForgotten) {
  const size_t before = (*path_)->KeptInodes();
  const std::string file = path_->Create(New("file")).node;
  const std::string directory = path_->Mkdir(New("directory")).node;
  EXPECT_EQ((*path_)->KeptInodes(), before + 2);
  path_->Forget(file);
  path_->Forget(directory);
  path_->Forget(directory);
  EXPECT_EQ((*path_)->KeptInodes(), before);
}

TEST_F(Kept, AreNoneOfAnOperationThatWasGivenUp) {
  const size_t before = (*path_)->KeptInodes();
  GiveUp([](Path& path) { path.Mkdir(New("directory")); });
  GiveUp([](Path& path) { path.Open(New("file")); });
  EXPECT_EQ((*path_)->KeptInodes(), before);
}

TEST_F(Kept, AreNodesThatAnOperationFoundAgain) {
  const std::string node = path_->Create(New("file")).node;
  const size_t before = (*path_)->KeptInodes();
  path_->Forget(node);  // as if it had been pushed out
  EXPECT_EQ((*path_)->KeptInodes(), before - 1);
  ASSERT_EQ(path_->Write(node, "data").error_number, 0);
  EXPECT_EQ((*path_)->KeptInodes(), before);
  EXPECT_EQ((*path_)->OpenFiles(), 1U);
  path_->Forget(node);
  EXPECT_EQ((*path_)->KeptInodes(), before - 1);
  EXPECT_EQ((*path_)->OpenFiles(), 0U);
}

TEST_F(Kept, IsNoneThatASweepFound) {
  const std::string name = New("file");
  const size_t before = (*path_)->KeptInodes();
  const std::string node = path_->Create(name).node;
  constexpr int64_t kTimeNs = 1'700'000'000'000'000'000;
  ASSERT_EQ(path_->SetTime(node, kTimeNs).error_number, 0);
  path_->Forget(node);
  ASSERT_TRUE(WaitSwept());
  EXPECT_EQ((*path_)->KeptInodes(), before);
  const Ended found = path_->Lookup(name);
  EXPECT_EQ(found.attributes.mtime_ns, kTimeNs);
  path_->Forget(found.node);
}

TEST_F(Kept, AreTheEntriesOfAListingThatWereTaken) {
  std::vector<std::string> names;
  for (int i = 0; i < 5; ++i) {
    names.push_back(New("listed"));
    path_->Forget(path_->Create(names.back()).node);
  }
  const size_t before = (*path_)->KeptInodes();
  path_->host().SetRoom(4);
  const Ended some = path_->List();
  path_->host().SetRoom(SIZE_MAX);
  ASSERT_EQ(some.error_number, 0);
  EXPECT_EQ(some.with_node.size() + some.without_node.size(), 4U);
  EXPECT_GE(some.with_node.size(), 2U);  // all but "." and ".."
  EXPECT_EQ((*path_)->KeptInodes(), before + some.with_node.size());
  for (const std::string& name : some.with_node) path_->Forget(path_->Lookup(name).node);
  EXPECT_EQ((*path_)->KeptInodes(), before);
}

// A create of a file that the host knew before, and forgets while the answer is on its way.
TEST_F(Kept, IsTheOpenFileOfANodeThatIsToldAnewUntilItIsIdle) {
  const std::string name = New("file");
  const std::string node = path_->Create(name).node;
  ASSERT_TRUE(WaitSwept());
  const size_t before = (*path_)->KeptInodes();
  gantry_op op = 0;
  path_->Begun(&op).Open(name);
  ASSERT_TRUE(path_->host().WaitReadable());
  path_->Forget(node);
  const Ended made = path_->host().Wait(op);
  EXPECT_EQ(made.node, node);
  EXPECT_EQ((*path_)->KeptInodes(), before);
  EXPECT_EQ((*path_)->OpenFiles(), 1U);
  ASSERT_TRUE(WaitSwept());
  EXPECT_EQ((*path_)->OpenFiles(), 0U);
}

}  // namespace
}  // namespace gantry::cephfs
