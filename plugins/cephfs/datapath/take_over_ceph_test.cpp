// SPDX-License-Identifier: Apache-2.0
// A successor's repetitions on a real cluster: its predecessor dies after the cluster has done what it was
// asked and before it could tell, or before the cluster was asked, and others change the same names
// meanwhile.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <functional>
#include <memory>

#include "plugins/cephfs/datapath/testing/path.hpp"
#include "tests/lab/ceph.hpp"

namespace gantry::cephfs {
namespace {

using test::Ended;
using test::Path;
using test::RegionBytes;

constexpr gantry_op kAgain = 1000;  // the operation that is asked for twice
constexpr uint64_t kVerifier = 4711;

class TakeOver : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto started = lab::Ceph::Start();
    ASSERT_TRUE(started) << started.error().message;
    ceph_ = new lab::Ceph(std::move(*started));
    rival_ = &Kept("rival", false);
  }
  static void TearDownTestSuite() {
    delete ceph_;
    ceph_ = nullptr;
  }

  // Never destroyed: a client that was thrown out does not end well.
  static Path& Kept(const std::string& node, bool one_node, RegionBytes region = {}) {
    static auto* const all = new std::vector<std::unique_ptr<Path>>();
    all->push_back(std::make_unique<Path>(
        test::Cluster{ceph_->monitor(), ceph_->filesystem(), ceph_->admin_key()}, node, one_node,
        std::move(region)));
    return *all->back();
  }
  using Change = std::function<Ended(Path&)>;
  // The change is made, and made again by a successor who knows what its predecessor had noted when the
  // cluster had answered. `meanwhile` between the two.
  static Ended Twice(bool one_node, const Change& change,
                     const std::function<void()>& meanwhile = nullptr) {
    Path& first = Kept("node", one_node);
    Ended done = change(first.As(kAgain, false));
    EXPECT_EQ(done.error_number, 0);
    if (meanwhile) meanwhile();
    return change(Kept("node", one_node, std::move(done.region)).As(kAgain, true));
  }
  // The successor is asked for what was never begun.
  static Ended OnlyAgain(const Change& change) {
    return change(Kept("node", false, Kept("node", false).region()).As(kAgain, true));
  }
  static std::string New(const char* what) { return what + std::to_string(++number_); }

  static lab::Ceph* ceph_;
  static Path* rival_;  // on another node
  static int number_;
};
lab::Ceph* TakeOver::ceph_ = nullptr;
Path* TakeOver::rival_ = nullptr;
int TakeOver::number_ = 0;

// --- where this node is alone

TEST_F(TakeOver, WhatWasDoneIsDoneWhereNobodyElseIs) {
  const std::string name = New("alone"), moved = New("moved"), linked = New("linked");
  for (const auto& change : std::vector<Change>{
           [&](Path& path) { return path.Create(name, kVerifier); },
           [&](Path& path) { return path.Rename(name, moved); },
           [&](Path& path) { return path.Link(rival_->Lookup(moved).node, linked); },
           [&](Path& path) { return path.Unlink(moved); },
           [&](Path& path) { return path.Mkdir(name); },
           [&](Path& path) { return path.Rmdir(name); },
           [&](Path& path) { return path.Symlink(name); }}) {
    EXPECT_EQ(Twice(true, change).error_number, 0);
  }
  EXPECT_EQ(rival_->Lookup(linked).error_number, 0);
  EXPECT_EQ(rival_->Lookup(moved).error_number, ENOENT);
  EXPECT_EQ(rival_->Lookup(name).attributes.mode & S_IFMT, mode_t{S_IFLNK});
}

// libcephfs 16.2 keeps whoever asks for a name waiting for ever when a rename to it has failed by itself.
TEST_F(TakeOver, ANameThatADoneRenameGaveCanBeUsedOn) {
  for (const bool one_node : {true, false}) {
    const std::string from = New("from"), to = New("to");
    ASSERT_EQ(rival_->Create(from).error_number, 0);
    const Change rename = [&](Path& path) { return path.Rename(from, to); };
    Path& first = Kept("node", one_node);
    Ended done = rename(first.As(kAgain, false));
    ASSERT_EQ(done.error_number, 0);
    Path& second = Kept("node", one_node, std::move(done.region));
    EXPECT_EQ(rename(second.As(kAgain, true)).error_number, 0);
    EXPECT_EQ(second.Lookup(to).error_number, 0);
    EXPECT_EQ(second.Unlink(to).error_number, 0);
  }
}

TEST_F(TakeOver, ANameThatAFailedRenameAskedForCanBeUsedOn) {
  const std::string file = New("file"), directory = New("directory"), free = New("free");
  ASSERT_EQ(rival_->Create(file).error_number, 0);
  ASSERT_EQ(rival_->Mkdir(directory).error_number, 0);
  for (const bool one_node : {true, false}) {
    Path& path = Kept("node", one_node);
    for (const auto& to : {file, directory, free}) {
      const Ended before = path.Lookup(to);
      EXPECT_EQ(path.Rename(New("absent"), to).error_number, ENOENT);
      const Ended after = path.Lookup(to);
      EXPECT_EQ(after.error_number, before.error_number);
      EXPECT_EQ(after.node, before.node);
    }
    EXPECT_EQ(path.Create(free).error_number, 0);
    EXPECT_EQ(path.Unlink(free).error_number, 0);
  }
}

// Another node's change of the old name is not known here when it is asked for.
TEST_F(TakeOver, SoCanOneWhoseOldNameAnotherNodeTook) {
  const std::string from = New("from"), taken = New("taken"), to = New("to");
  Path& path = Kept("node", true);
  ASSERT_EQ(path.Create(from).error_number, 0);
  ASSERT_EQ(rival_->Rename(from, taken).error_number, 0);
  EXPECT_EQ(path.Rename(from, to).error_number, ENOENT);
  EXPECT_EQ(path.Lookup(to).error_number, ENOENT);
  EXPECT_EQ(path.Rename(taken, to).error_number, 0);
  EXPECT_EQ(path.Lookup(to).error_number, 0);
}

// --- where others are

TEST_F(TakeOver, AnExclusiveFileIsKnownAgainByItsMark) {
  const std::string name = New("file");
  const auto ended = Twice(false, [&](Path& path) { return path.Create(name, kVerifier); });
  EXPECT_EQ(ended.error_number, 0);
  EXPECT_EQ(ended.node, rival_->Lookup(name).node);
  EXPECT_EQ(ended.attributes.rdev_major, 0U);
  EXPECT_EQ(ended.attributes.rdev_minor, 0U);
}

TEST_F(TakeOver, AnExclusiveFileOfAnotherNodeIsNotTakenForOurs) {
  const std::string name = New("file");
  const auto ended = Twice(
      false, [&](Path& path) { return path.Create(name, kVerifier); },
      [&] {
        ASSERT_EQ(rival_->Unlink(name).error_number, 0);
        ASSERT_EQ(rival_->Create(name, kVerifier + 1).error_number, 0);
      });
  EXPECT_EQ(ended.error_number, EEXIST);
}

TEST_F(TakeOver, WhatWasNeverBegunIsAnsweredAsItIsFound) {
  const std::string name = New("theirs");
  ASSERT_EQ(rival_->Mkdir(name).error_number, 0);
  EXPECT_EQ(OnlyAgain([&](Path& path) { return path.Mkdir(name); }).error_number, EEXIST);
  EXPECT_EQ(OnlyAgain([&](Path& path) { return path.Rmdir(New("absent")); }).error_number, ENOENT);
  EXPECT_EQ(OnlyAgain([&](Path& path) { return path.Rename(New("absent"), name); }).error_number,
            ENOENT);
}

TEST_F(TakeOver, ADirectoryThatMayBeAnothersIsAnErrorAndNoSuccess) {
  const std::string name = New("directory");
  EXPECT_EQ(Twice(false, [&](Path& path) { return path.Mkdir(name); }).error_number, EIO);
}

TEST_F(TakeOver, ANameThatIsGoneIsRemoved) {
  const std::string name = New("gone");
  ASSERT_EQ(rival_->Create(name).error_number, 0);
  EXPECT_EQ(Twice(false, [&](Path& path) { return path.Unlink(name); }).error_number, 0);
}

TEST_F(TakeOver, WhatHasGotTheNameSinceIsNotRemoved) {
  const std::string name = New("again");
  ASSERT_EQ(rival_->Create(name).error_number, 0);
  std::string theirs;
  const auto ended = Twice(
      false, [&](Path& path) { return path.Unlink(name); },
      [&] { theirs = rival_->Create(name, 2).node; });
  EXPECT_EQ(ended.error_number, 0);
  EXPECT_EQ(rival_->Lookup(name).node, theirs);
}

TEST_F(TakeOver, ARenameIsDoneWhenTheNewNameLeadsToWhatTheOldOneDid) {
  const std::string from = New("from"), to = New("to");
  ASSERT_EQ(rival_->Create(from).error_number, 0);
  const Change rename = [&](Path& path) { return path.Rename(from, to); };
  EXPECT_EQ(Twice(false, rename).error_number, 0);
  // Another one has got the old name: it stays where it is.
  const auto ended = Twice(
      false, [&](Path& path) { return path.Rename(to, from); },
      [&] { ASSERT_EQ(rival_->Create(to, 3).error_number, 0); });
  EXPECT_EQ(ended.error_number, 0);
  EXPECT_EQ(rival_->Lookup(to).error_number, 0);
}

TEST_F(TakeOver, ALinkIsOursWhenItLeadsToOurFile) {
  const std::string file = New("file"), name = New("link");
  const std::string node = rival_->Create(file).node;
  const Change link = [&](Path& path) { return path.Link(node, name); };
  EXPECT_EQ(Twice(false, link).error_number, 0);
  ASSERT_EQ(rival_->Unlink(name).error_number, 0);
  const auto ended = Twice(false, link, [&] {
    ASSERT_EQ(rival_->Unlink(name).error_number, 0);
    ASSERT_EQ(rival_->Create(name, 4).error_number, 0);
  });
  EXPECT_EQ(ended.error_number, EEXIST);
}

// --- the fence

TEST_F(TakeOver, APredecessorThatLivesIsThrownOut) {
  Path& first = Kept("node", true);
  const std::string node = first.Create(New("fenced")).node;
  ASSERT_EQ(first.Write(node, "before").error_number, 0);
  Path& second = Kept("node", true);
  ASSERT_EQ(second.Write(node, "after!").error_number, 0);
  EXPECT_NE(first.Write(node, "late!!").error_number, 0);
}

}  // namespace
}  // namespace gantry::cephfs
