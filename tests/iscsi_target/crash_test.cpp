// SPDX-License-Identifier: Apache-2.0
// The program dies by SIGKILL after each of its lasting steps in turn, and the request is repeated as
// a controller would: then there is one volume as asked for, and nothing that nobody owns.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "tests/iscsi_target/target_fixture.hpp"

namespace gantry::iscsi::target {
namespace {

using ::testing::IsEmpty;
using testing::kMiB;
using testing::kSoonMs;
using testing::Soon;

constexpr int kStepsMax = 100;

class CrashTest : public testing::TargetFixture {
 protected:
  // Serves `line` in a process that dies after its `step`-th lasting step; true when it died.
  bool Dies(const std::string& line, int step) {
    const pid_t child = fork();
    if (child == 0) {
      int done = 0;
      Open([&](const char* /*name*/) {
        if (++done == step) kill(getpid(), SIGKILL);
      });
      (void)service_->Answer(line);
      _exit(0);
    }
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  }
  // Each round begins with `before` and ends with `check`, which also puts things back.
  template <class Request>
  void AtEachStep(const Request& request, const std::function<void()>& before,
                  const std::function<void()>& check) {
    const std::string line = EncodeRequest({"cluster-a", kSoonMs}, request);
    int deaths = 0;
    for (int step = 1; step < kStepsMax; ++step) {
      SCOPED_TRACE("died after step " + std::to_string(step));
      before();
      const bool died = Dies(line, step);
      deaths += died ? 1 : 0;
      const auto again = Ask(request);
      EXPECT_TRUE(again) << again.error().message;
      check();
      if (!died) break;
      ASSERT_FALSE(HasFailure());
    }
    EXPECT_GT(deaths, 1);
    EXPECT_LT(deaths, kStepsMax - 1);
  }
  void ExpectNothingLeft() {
    Must(RunTask{{TaskKind::kTrash, ""}});
    for (const char* directory : {"volumes", "snapshots", "trash"})
      EXPECT_THAT(Files(directory), IsEmpty()) << directory;
    EXPECT_EQ(tgt_->Show().value(), "");
  }
};

TEST_F(CrashTest, CreateVolumeLeavesOneVolume) {
  AtEachStep(
      Make("t0-1"), [] {},
      [&] {
        EXPECT_EQ(Must(ListVolumes{}).volumes.size(), 1U);
        Must(DeleteVolume{"t0-1", ""});
        ExpectNothingLeft();
      });
}

TEST_F(CrashTest, PublishVolumeLeavesOneTargetWithOneNode) {
  AtEachStep(
      Publish("t0-1"), [&] { Must(Make("t0-1")); },
      [&] {
        const auto volume = Must(GetVolume{"t0-1"});
        EXPECT_EQ(volume.nodes.size(), 1U);
        auto session = Login(volume);
        EXPECT_EQ(ReadText(session), "");
        session.Logout(Soon());
        Must(Unpublish("t0-1"));
        Must(DeleteVolume{"t0-1", ""});
        ExpectNothingLeft();
      });
}

TEST_F(CrashTest, UnpublishVolumeLeavesNoTarget) {
  AtEachStep(
      Unpublish("t0-1"),
      [&] {
        Must(Make("t0-1"));
        Must(Publish("t0-1"));
      },
      [&] {
        EXPECT_THAT(Must(GetVolume{"t0-1"}).nodes, IsEmpty());
        EXPECT_EQ(tgt_->Show().value(), "");
        Must(DeleteVolume{"t0-1", ""});
        ExpectNothingLeft();
      });
}

TEST_F(CrashTest, DeleteVolumeLeavesNothing) {
  AtEachStep(
      DeleteVolume{"t0-1", ""}, [&] { MakeWith("t0-1", "data"); }, [&] { ExpectNothingLeft(); });
}

// The delete is never repeated, but a volume of the same name is asked for.
TEST_F(CrashTest, AHalfDeletedVolumeIsMadeAnewAndBlank) {
  for (int step = 1; step < kStepsMax; ++step) {
    SCOPED_TRACE("died after step " + std::to_string(step));
    const auto first = MakeWith("t0-1", "data");
    const bool died = Dies(EncodeRequest({"cluster-a", kSoonMs}, DeleteVolume{"t0-1", ""}), step);
    const auto second = Must(Make("t0-1")).volume;
    if (second->incarnation == first.incarnation) {
      EXPECT_EQ(TextOf("t0-1"), "data") << "it died before the delete had begun";
    } else {
      EXPECT_TRUE(second->never_written);
      EXPECT_EQ(TextOf("t0-1"), "");
    }
    Must(DeleteVolume{"t0-1", ""});
    ExpectNothingLeft();
    if (!died) break;
    ASSERT_FALSE(HasFailure());
  }
}

TEST_F(CrashTest, ExpandVolumeHasTheSizeOnTheTargetToo) {
  ExpandVolume request;
  request.handle = "t0-1";
  request.required_bytes = 16 * kMiB;
  request.online = true;
  AtEachStep(
      request,
      [&] {
        Must(Make("t0-1", 8 * kMiB));
        Must(Publish("t0-1"));
      },
      [&] {
        const auto volume = Must(GetVolume{"t0-1"});
        EXPECT_EQ(volume.size_bytes, 16 * kMiB);
        auto session = Login(volume);
        EXPECT_EQ(scsi::ReadCapacity(session, kLun, Soon())->size_bytes(), 16 * kMiB);
        session.Logout(Soon());
        Must(Unpublish("t0-1"));
        Must(DeleteVolume{"t0-1", ""});
        ExpectNothingLeft();
      });
}

TEST_F(CrashTest, ASnapshotIsWholeOrNotThere) {
  MakeWith("source", "data");
  AtEachStep(
      Snap("s-1", "source"), [] {},
      [&] {
        EXPECT_EQ(Must(ListSnapshots{}).snapshots.size(), 1U);
        Must(RunTask{{TaskKind::kTrash, ""}});
        EXPECT_EQ(Files("snapshots").size(), 2U);
        Must(DeleteSnapshot{"s-1"});
        Must(RunTask{{TaskKind::kTrash, ""}});
        EXPECT_THAT(Files("snapshots"), IsEmpty());
      });
}

TEST_F(CrashTest, ACloneIsWholeOrNotThere) {
  MakeWith("source", "data");
  AtEachStep(
      MakeFrom("t0-1", ContentKind::kVolume, "source"), [] {},
      [&] {
        EXPECT_EQ(TextOf("t0-1"), "data");
        Must(DeleteVolume{"t0-1", ""});
        Must(RunTask{{TaskKind::kTrash, ""}});
        EXPECT_EQ(Files("volumes").size(), 2U);
      });
}

}  // namespace
}  // namespace gantry::iscsi::target
