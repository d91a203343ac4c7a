// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/tree_copy.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "plugins/common/testing/fake_tree.hpp"

namespace gantry::plugin {
namespace {

using testing::FakeTree;
using Happening = FakeTree::Happening;

std::string Text(size_t bytes, char first = 'a') {
  std::string text(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(first + i % 23);
  return text;
}

// One of everything, in "src"; "dst" is empty.
void MakeSample(FakeTree& tree) {
  using enum EntryKind;
  tree.MakePath("src/empty", kFile);
  tree.MakePath("src/small", kFile, Text(10));
  tree.MakePath("src/big", kFile, Text(5'500));
  tree.MakePath("src/a/b/c/deep", kFile, Text(999));
  for (int i = 0; i < 20; ++i) tree.MakePath("src/many/f" + std::to_string(i), kFile, Text(i));
  tree.MakePath("src/a/link", kSymlink, "../small");
  tree.MakePath("src/a/fifo", kFifo);
  tree.MakePath("src/a/socket", kSocket);
  tree.MakePath("src/a/disk", kBlockDevice);
  tree.At("src/a/disk").attributes.device_major = 8;
  tree.At("src/a/disk").attributes.device_minor = 17;
  tree.MakePath("src/a/tty", kCharacterDevice);
  tree.LinkPath("src/small", "src/a/b/small-too");
  tree.LinkPath("src/small", "src/many/small-three");
  tree.LinkPath("src/a/link", "src/a/b/link-too");
  tree.MakePath("src/closed/inside", kFile, Text(3));
  tree.At("src/closed").attributes.mode = 0555;
  tree.At("src/closed").attributes.gid = 77;
  tree.MakePath("src/setuid", kFile, Text(7));
  auto& setuid = tree.At("src/setuid").attributes;
  setuid.mode = 04755;
  setuid.uid = 1'000;
  tree.At("src/many/f3").attributes.mode = 0200;  // As what is being made.
  tree.At("src/many/f4").attributes.mode = 0;
  tree.At("src/a").attributes.mtime_ns = 5'000'000'007;
  tree.At("src").attributes.mode = 02770;
  tree.MakePath("dst", kDirectory);
}

const auto kGoOn = [](const CopyProgress&) { return true; };

Result<CopyOutcome> Copy(FakeTree& tree, const CopyLimits& limits = {}) {
  return TreeCopy(tree, limits).Run(tree.IdOf("src"), tree.IdOf("dst"), kGoOn);
}

void ExpectCopied(FakeTree& tree, const Result<CopyOutcome>& outcome) {
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_TRUE(outcome->done);
  tree.RestartServer();  // Whatever is done is durable.
  const auto is = tree.Describe("dst");
  const auto should_be = tree.Describe("src");
  for (const auto& [path, line] : should_be) {
    const auto found = is.find(path);
    EXPECT_EQ(found == is.end() ? "nothing" : found->second, line) << path;
  }
  for (const auto& [path, line] : is) EXPECT_TRUE(should_be.contains(path)) << path;
}

TEST(TreeCopy, MakesAnEqualTreeInAnyOrderOfEvents) {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    SCOPED_TRACE(seed);
    FakeTree tree;
    MakeSample(tree);
    tree.Shuffle(seed);
    const auto outcome = Copy(tree);
    ExpectCopied(tree, outcome);
    EXPECT_EQ(outcome->progress.entries, tree.Describe("src").size());
  }
}

TEST(TreeCopy, StandsOperationsThatHappenTwice) {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    for (const unsigned per_mille : {30U, 200U}) {
      SCOPED_TRACE(std::to_string(seed) + " " + std::to_string(per_mille));
      FakeTree tree;
      MakeSample(tree);
      tree.Shuffle(seed);
      tree.RepeatSome(per_mille);
      ExpectCopied(tree, Copy(tree));
    }
  }
}

TEST(TreeCopy, CountsTheBytesOfFilesOnce) {
  FakeTree tree;
  MakeSample(tree);
  uint64_t last = 0;
  const auto outcome =
      TreeCopy(tree).Run(tree.IdOf("src"), tree.IdOf("dst"), [&](const CopyProgress& progress) {
        EXPECT_GE(progress.bytes, last);
        last = progress.bytes;
        return true;
      });
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->progress.bytes, 10U + 5'500 + 999 + 190 + 3 + 7);
  // The same again, though nothing is copied any more.
  EXPECT_EQ(Copy(tree)->progress.bytes, outcome->progress.bytes);
}

TEST(TreeCopy, GoesOnAfterBeingStoppedAnywhere) {
  bool reached = true;
  for (uint64_t step = 1; reached; ++step) {
    SCOPED_TRACE(step);
    FakeTree tree;
    MakeSample(tree);
    tree.Shuffle(step);
    CopyLimits limits;
    limits.stretch_bytes = 2'000;
    // So long that `go_on` is asked each time, and the drain gives up at once.
    tree.operation_takes = std::chrono::seconds(3);
    const auto stopped =
        TreeCopy(tree, limits).Run(tree.IdOf("src"), tree.IdOf("dst"), [&](const CopyProgress&) {
          return tree.operations() < step;
        });
    ASSERT_TRUE(stopped) << stopped.error().message;
    reached = !stopped->done;
    tree.RunLate();
    tree.operation_takes = std::chrono::microseconds(20);
    ExpectCopied(tree, Copy(tree, limits));
    ASSERT_LT(step, 5'000U);
  }
}

TEST(TreeCopy, GoesOnAfterTheStorageWentAwayAnywhere) {
  bool reached = true;
  for (uint64_t step = 1; reached; step += 3) {
    SCOPED_TRACE(step);
    FakeTree tree;
    MakeSample(tree);
    tree.Shuffle(step);
    tree.SetBefore([&](const Happening& now) {
      return now.number >= step ? std::optional(StoreFault::kUnavailable) : std::nullopt;
    });
    const auto failed = Copy(tree);
    reached = !failed;
    if (!failed) {
      EXPECT_EQ(failed.error().code, code::kUnavailable);
    }
    tree.SetBefore(nullptr);
    tree.RestartServer();
    ExpectCopied(tree, Copy(tree));
    ASSERT_LT(step, 5'000U);
  }
}

TEST(TreeCopy, WritesAgainWhatAServersRestartHasLost) {
  bool reached = true;
  for (uint64_t step = 1; reached; ++step) {
    SCOPED_TRACE(step);
    FakeTree tree;
    MakeSample(tree);
    tree.Shuffle(step);
    tree.SetBefore([&](const Happening& now) -> std::optional<StoreFault> {
      if (now.number == step) tree.RestartServer();
      return std::nullopt;
    });
    CopyLimits limits;
    limits.stretch_bytes = 3'000;
    ExpectCopied(tree, Copy(tree, limits));
    reached = tree.operations() >= step;
    ASSERT_LT(step, 5'000U);
  }
}

TEST(TreeCopy, GoesOnWithinALargeFile) {
  FakeTree tree;
  tree.MakePath("src/large", EntryKind::kFile, Text(100'000));
  tree.MakePath("dst", EntryKind::kDirectory);
  CopyLimits limits;
  limits.stretch_bytes = 10'000;
  uint64_t reads = 0;
  tree.SetBefore([&](const Happening& now) -> std::optional<StoreFault> {
    if (now.what == "Read" && ++reads == 75) return StoreFault::kUnavailable;
    return std::nullopt;
  });
  ASSERT_FALSE(Copy(tree, limits));
  reads = 1'000;
  const auto outcome = Copy(tree, limits);
  ExpectCopied(tree, outcome);
  EXPECT_EQ(reads - 1'000, 30U);
  EXPECT_EQ(outcome->progress.bytes, 100'000U);
}

TEST(TreeCopy, BeginsALargeFileAnewWhenItsSourceHasChanged) {
  FakeTree tree;
  tree.MakePath("src/large", EntryKind::kFile, Text(100'000));
  tree.MakePath("dst", EntryKind::kDirectory);
  CopyLimits limits;
  limits.stretch_bytes = 10'000;
  uint64_t reads = 0;
  tree.SetBefore([&](const Happening& now) -> std::optional<StoreFault> {
    if (now.what == "Read" && ++reads == 75) return StoreFault::kUnavailable;
    return std::nullopt;
  });
  ASSERT_FALSE(Copy(tree, limits));
  tree.Overwrite("src/large", Text(100'000, 'A'));
  ExpectCopied(tree, Copy(tree, limits));
}

TEST(TreeCopy, CopiesAFileAgainThatChangedMeanwhile) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(seed);
    FakeTree tree;
    MakeSample(tree);
    tree.Shuffle(seed);
    const NodeId big = tree.IdOf("src/big");
    int changes = 0;
    tree.SetBefore([&](const Happening& now) -> std::optional<StoreFault> {
      if (now.id == big && now.what == "Read" && changes < 20) {
        tree.Overwrite("src/big", Text(5'500, static_cast<char>('b' + ++changes)));
      }
      return std::nullopt;
    });
    ExpectCopied(tree, Copy(tree));
  }
}

TEST(TreeCopy, FailsByNameWhenAFileKeepsChanging) {
  FakeTree tree;
  MakeSample(tree);
  const NodeId deep = tree.IdOf("src/a/b/c/deep");
  tree.SetBefore([&](const Happening& now) -> std::optional<StoreFault> {
    if (now.id == deep && now.what == "Read") tree.Overwrite("src/a/b/c/deep", Text(999, 'A'));
    return std::nullopt;
  });
  const auto failed = Copy(tree);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, code::kAborted);
  EXPECT_NE(failed.error().message.find("'a/b/c/deep' keeps changing"), std::string::npos);
}

// The clock of a storage stands still between two ticks, so that a change right after another one
// leaves no trace in the attributes.
TEST(TreeCopy, IsNotDeceivedByTwoChangesInOneTick) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(seed);
    FakeTree tree;
    tree.SetTick(10'000'000);
    tree.MakePath("dst", EntryKind::kDirectory);
    tree.MakePath("src/file", EntryKind::kFile, Text(5'500));
    tree.Shuffle(seed);
    const NodeId file = tree.IdOf("src/file");
    uint64_t reads = 0;
    tree.SetBefore([&](const Happening& now) -> std::optional<StoreFault> {
      if (now.id == file && now.what == "Read" && ++reads == 3) {
        tree.Overwrite("src/file", Text(5'500, 'A'));
      }
      return std::nullopt;
    });
    ExpectCopied(tree, Copy(tree));
  }
}

TEST(TreeCopy, FollowsNamesThatComeAndGo) {
  bool reached = true;
  for (uint64_t step = 1; reached; step += 2) {
    SCOPED_TRACE(step);
    FakeTree tree;
    MakeSample(tree);
    tree.Shuffle(step);
    tree.SetBefore([&](const Happening& now) -> std::optional<StoreFault> {
      if (now.number != step) return std::nullopt;
      tree.RemovePath("src/many/f7");
      tree.MovePath("src/many/f8", "src/many/moved");
      tree.MakePath("src/many/new", EntryKind::kFile, Text(20));
      tree.MovePath("src/a/b/c/deep", "src/many/deep");
      tree.RemovePath("src/closed");
      tree.RemovePath("src/a/fifo");
      tree.MakePath("src/a/fifo/is/a/directory", EntryKind::kFile);
      tree.RemovePath("src/a/b/small-too");
      return std::nullopt;
    });
    const auto first = Copy(tree);
    ASSERT_TRUE(first) << first.error().message;
    reached = tree.operations() >= step;
    tree.SetBefore(nullptr);
    // What changed in a directory that was done already is brought over by another run.
    ExpectCopied(tree, Copy(tree));
    ASSERT_LT(step, 5'000U);
  }
}

TEST(TreeCopy, RemovesWhatIsNotTheSources) {
  FakeTree tree;
  MakeSample(tree);
  tree.MakePath("dst/small/is/a/directory", EntryKind::kFile, "x");
  tree.MakePath("dst/a", EntryKind::kFile, "no directory");
  tree.MakePath("dst/many/extra/with/more", EntryKind::kFile, "x");
  tree.MakePath("dst/many/f1", EntryKind::kSymlink, "x");
  tree.MakePath("dst/empty", EntryKind::kFile, "not empty");
  tree.MakePath("dst/old", EntryKind::kFifo);
  ExpectCopied(tree, Copy(tree));
}

TEST(TreeCopy, BringsOverWhatChangedSinceTheLastRun) {
  FakeTree tree;
  MakeSample(tree);
  ExpectCopied(tree, Copy(tree));
  tree.Overwrite("src/many/f5", Text(900));
  tree.At("src/many/f6").attributes.mode = 0600;
  tree.RemovePath("src/many/small-three");
  tree.MakePath("src/many/small-three", EntryKind::kFile, Text(10));
  tree.RemovePath("src/a/b");
  uint64_t writes = 0;
  tree.SetBefore([&](const Happening& now) -> std::optional<StoreFault> {
    if (now.what == "Write") ++writes;
    return std::nullopt;
  });
  ExpectCopied(tree, Copy(tree));
  EXPECT_LE(writes, 4U);
}

TEST(TreeCopy, LeavesHolesHoles) {
  FakeTree tree;
  tree.chunk = 256 * 1024;
  tree.MakePath("dst", EntryKind::kDirectory);
  tree.MakePath("src/sparse", EntryKind::kFile);
  tree.MakePath("src/hole-only", EntryKind::kFile);
  tree.MakePath("src/zeros", EntryKind::kFile, std::string(300'000, '\0'));
  AttributeChange size;
  size.size = 2'000'000;
  for (const char* path : {"src/sparse", "src/hole-only"}) {
    tree.Change(tree.IdOf(path), size, [](const auto&) {});
    tree.Wait(tree.Now());
  }
  for (const uint64_t at : {0ULL, 409'600ULL, 819'200ULL}) {
    tree.Write(tree.IdOf("src/sparse"), at, Text(4'096), true, [](const auto&) {});
    tree.Wait(tree.Now());
  }
  ExpectCopied(tree, Copy(tree));
  EXPECT_EQ(tree.At("dst/sparse").blocks.size(), 3U);
  EXPECT_EQ(tree.At("dst/hole-only").blocks.size(), 0U);
  EXPECT_EQ(tree.At("dst/zeros").blocks.size(), 74U);
}

TEST(TreeCopy, KeepsItsLimits) {
  FakeTree tree;
  for (int i = 0; i < 300; ++i) {
    tree.MakePath("src/d" + std::to_string(i % 50) + "/e/f" + std::to_string(i), EntryKind::kFile,
                  Text(9'000));
  }
  tree.MakePath("dst", EntryKind::kDirectory);
  CopyLimits limits;
  limits.entries_in_flight_max = 4;
  limits.directories_open_max = 3;
  limits.file_chunks_in_flight_max = 3;
  limits.buffer_bytes_max = 5'000;
  ExpectCopied(tree, Copy(tree, limits));
  EXPECT_LE(tree.outstanding_max(), 40U);
  EXPECT_GE(tree.outstanding_max(), 5U);
}

TEST(TreeCopy, CopiesATreeDeeperThanItsOpenDirectories) {
  FakeTree tree;
  std::string path = "src";
  for (int i = 0; i < 100; ++i) {
    path += "/d";
    tree.MakePath(path + "/f", EntryKind::kFile, Text(5));
  }
  tree.MakePath("dst", EntryKind::kDirectory);
  CopyLimits limits;
  limits.directories_open_max = 2;
  ExpectCopied(tree, Copy(tree, limits));
  limits.depth_max = 50;
  const auto failed = Copy(tree, limits);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, code::kFailedPrecondition);
}

TEST(TreeCopy, SaysThatThereIsNoSpace) {
  FakeTree tree;
  MakeSample(tree);
  tree.SetRoom(3'000);
  const auto failed = Copy(tree);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, code::kResourceExhausted);
  EXPECT_EQ(failed.error().message.find("'"), 0U) << failed.error().message;
  tree.SetRoom(1'000'000);
  ExpectCopied(tree, Copy(tree));
}

TEST(TreeCopy, SaysWhatItMayNotDo) {
  FakeTree tree;
  MakeSample(tree);
  const NodeId file = tree.IdOf("src/many/f9");
  tree.SetBefore([&](const Happening& now) -> std::optional<StoreFault> {
    if (now.what == "Read" && now.id == file) return StoreFault::kRefused;
    return std::nullopt;
  });
  const auto failed = Copy(tree);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, code::kPermissionDenied);
  EXPECT_NE(failed.error().message.find("'many/f9'"), std::string::npos);
}

TEST(TreeCopy, LeavesSocketsAndDevicesThatTheServerDoesNotChange) {
  FakeTree tree;
  MakeSample(tree);
  tree.SetBefore([&](const Happening& now) -> std::optional<StoreFault> {
    for (const char* path : {"dst/a/socket", "dst/a/disk", "dst/a/tty"}) {
      if (now.what == "Change" && tree.Has(path) && now.id == tree.IdOf(path)) {
        return StoreFault::kRefused;
      }
    }
    return std::nullopt;
  });
  for (int run = 0; run < 2; ++run) {
    const auto outcome = Copy(tree);
    ASSERT_TRUE(outcome) << outcome.error().message;
  }
  EXPECT_EQ(tree.At("dst/a/disk").attributes.mode, tree.At("src/a/disk").attributes.mode);
  EXPECT_EQ(tree.At("dst/a/disk").attributes.device_minor, 17U);
  EXPECT_EQ(tree.At("dst/a/socket").attributes.kind, EntryKind::kSocket);
}

TEST(TreeCopy, ReplacesASymlinkThatLeadsElsewhere) {
  FakeTree tree;
  MakeSample(tree);
  tree.MakePath("dst/a/link", EntryKind::kSymlink, "../other");
  ExpectCopied(tree, Copy(tree));
}

TEST(TreeCopy, StopsWhereAnotherFilesystemBegins) {
  FakeTree tree;
  MakeSample(tree);
  tree.At("src/a/b").attributes.fsid = 9;
  const auto failed = Copy(tree);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, code::kFailedPrecondition);
  EXPECT_NE(failed.error().message.find("'a/b'"), std::string::npos);
}

TEST(TreeCopy, FailsWhenItsSourceIsGone) {
  FakeTree tree;
  MakeSample(tree);
  const NodeId source = tree.IdOf("src");
  tree.RemovePath("src");
  const auto failed = TreeCopy(tree).Run(source, tree.IdOf("dst"), kGoOn);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, code::kNotFound);
}

TEST(TreeCopy, BoundsTheFilesWithSeveralNames) {
  FakeTree tree;
  MakeSample(tree);
  CopyLimits limits;
  limits.hard_links_max = 1;
  const auto failed = Copy(tree, limits);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, code::kResourceExhausted);
}

}  // namespace
}  // namespace gantry::plugin
