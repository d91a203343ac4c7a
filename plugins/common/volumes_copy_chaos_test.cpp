// SPDX-License-Identifier: Apache-2.0
// Deaths, late operations and races at every step of a copy. Whatever happens, a volume that its
// record calls ready holds all that its source held.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "plugins/common/testing/copy_actor.hpp"
#include "plugins/common/testing/schedule.hpp"

namespace gantry::plugin {
namespace {

using namespace testing;  // NOLINT: all of it is for this.

#ifdef GANTRY_SANITIZED
constexpr uint64_t kSeeds = 30;
constexpr size_t kStride = 5;
#else
constexpr uint64_t kSeeds = 600;
constexpr size_t kStride = 1;
#endif
constexpr int kTriesMax = 8;
constexpr size_t kCopyStepsMax = 300;

constexpr Fault kDeaths[] = {Fault::kDieBefore, Fault::kDieAfter, Fault::kDieDelayed,
                             Fault::kLoseReply, Fault::kRefuse};
enum class Late { kBeforeRetry, kAfterRetry, kAfterDelete, kAfterRemake };
constexpr Late kLates[] = {Late::kBeforeRetry, Late::kAfterRetry, Late::kAfterDelete,
                           Late::kAfterRemake};

class CopyChaos : public ::testing::Test {
 protected:
  // A source and, by `who`, the record of a copy.
  void Prepare(World& world) {
    ASSERT_TRUE(Actor(world, "A").Create(Spec("s", "s")));
    FillSource(world, "s");
    whole_ = ContentOf(world, "s");
  }
  static void Begin(World& world) {
    ASSERT_TRUE(CopyActor(world, "A").Create(Of::kVolumes, "c", VolumeSource("s")));
  }
  // As a CO asks and a task runs, until it is there; `mine` is what the task's cursor says.
  static void CopyInTheEnd(World& world, const std::string& mine) {
    CopyActor actor(world, "R");
    actor.mine = mine;
    std::string last;
    for (int i = 0; i < kTriesMax; ++i) {
      const auto created = actor.Create(Of::kVolumes, "c", VolumeSource("s"));
      ASSERT_TRUE(created) << created.error().message;
      if (created->state == RecordState::kReady) return;
      const auto run = actor.Copy(Of::kVolumes, "c");
      last = run ? std::to_string(static_cast<int>(run->state)) : run.error().message;
      if (run && run->state == CopyState::kOthers) world.Advance(kOwnerLeaseMs + 1);
    }
    FAIL() << "the copy does not come to its end: " << last;
  }
  void ExpectWhole(World& world) {
    ExpectVolume(world, "c", "c");
    EXPECT_EQ(ContentOf(world, "c"), whole_);
  }
  void ExpectNothingIsLeft(World& world) {
    ASSERT_EQ(Failure(Actor(world, "Z").Delete("c")), "");
    ASSERT_EQ(Failure(Actor(world, "Z").Delete("s")), "");
    ASSERT_TRUE(CopyActor(world, "Z").CopyAll());
    EmptyTrash(world);
    EXPECT_EQ(Tidied(world), With(kNothing, {".gantry/copies/"}));
  }

  Content whole_;
};

// `act` is done by an actor who ends at one step; then others finish it, delete it and make it again.
using Act = std::function<void(CopyActor&)>;

class CopyDeaths : public CopyChaos {
 protected:
  void EndAtEveryStep(bool begun, bool owner_goes_on, const Act& act) {
    for (const Fault fault : kDeaths) {
      for (const Late late : kLates) {
        if (fault != Fault::kDieDelayed && late != Late::kBeforeRetry) continue;
        bool reached = true;
        for (size_t step = 0; reached; step += kStride) {
          SCOPED_TRACE("fault " + std::to_string(static_cast<int>(fault)) + " late " +
                       std::to_string(static_cast<int>(late)) + " step " + std::to_string(step));
          ASSERT_LT(step, kCopyStepsMax);
          World world;
          Prepare(world);
          if (begun) Begin(world);
          CopyActor ended(world, "E", At(step, fault));
          act(ended);
          reached = ended.operations() > step;
          const auto arrive = [&](Late when) {
            if (late == when) world.RunDelayed();
          };
          arrive(Late::kBeforeRetry);
          CopyInTheEnd(world, owner_goes_on ? ended.mine : "");
          ExpectWhole(world);
          arrive(Late::kAfterRetry);
          ExpectWhole(world);
          ASSERT_EQ(Failure(Actor(world, "D").Delete("c")), "");
          arrive(Late::kAfterDelete);
          ASSERT_FALSE(world.Has("c"));
          CopyInTheEnd(world, "");
          arrive(Late::kAfterRemake);
          ExpectWhole(world);
          ExpectNothingIsLeft(world);
          if (HasFailure()) return;
        }
      }
    }
  }
};

TEST_F(CopyDeaths, LeaveOneWholeCopyWhereverItsBeginnerEnds) {
  EndAtEveryStep(false, false, [](CopyActor& actor) {
    (void)actor.Create(Of::kVolumes, "c", VolumeSource("s"));
  });
}
TEST_F(CopyDeaths, LeaveOneWholeCopyWhenItsOwnerGoesOnAfterThem) {
  EndAtEveryStep(true, true, [](CopyActor& actor) { (void)actor.Copy(Of::kVolumes, "c"); });
}
TEST_F(CopyDeaths, LeaveOneWholeCopyWhenAnotherTakesItOver) {
  EndAtEveryStep(true, false, [](CopyActor& actor) { (void)actor.Copy(Of::kVolumes, "c"); });
}
TEST_F(CopyDeaths, LeaveNothingOfACopyThatIsDeletedHalfMade) {
  for (const Fault fault : kDeaths) {
    bool reached = true;
    for (size_t step = 0; reached; step += kStride) {
      SCOPED_TRACE("fault " + std::to_string(static_cast<int>(fault)) + " step " +
                   std::to_string(step));
      ASSERT_LT(step, kCopyStepsMax);
      World world;
      Prepare(world);
      Begin(world);
      CopyActor owner(world, "O");
      owner.go_on = [](const CopyProgress& progress) { return progress.entries < 2; };
      ASSERT_EQ(owner.Copy(Of::kVolumes, "c")->state, CopyState::kMore);
      CopyActor ended(world, "E", At(step, fault));
      (void)ended.Delete(Of::kVolumes, "c");
      reached = ended.operations() > step;
      owner.go_on = nullptr;
      (void)owner.Copy(Of::kVolumes, "c");  // Whatever it finds.
      world.RunDelayed();
      ExpectNothingIsLeft(world);
      if (HasFailure()) return;
    }
  }
}

// At one step of a copier's turn others do their work; then it goes on with what it knew.
class CopySleepers : public CopyChaos {
 protected:
  void SleepAtEveryStep(const std::function<void(World&)>& others, bool source_stays) {
    bool reached = true;
    for (size_t step = 0; reached; step += kStride) {
      SCOPED_TRACE("step " + std::to_string(step));
      ASSERT_LT(step, kCopyStepsMax);
      World world;
      Prepare(world);
      Begin(world);
      CopyActor sleeper(world, "sleeper", [&, n = size_t{0}]() mutable {
        if (n++ == step) others(world);
        return Fault::kNone;
      });
      (void)sleeper.Copy(Of::kVolumes, "c");
      reached = sleeper.operations() > step;
      if (CopyActor(world, "G").Get(Of::kVolumes, "c")) ExpectWhole(world);
      if (source_stays) {
        CopyInTheEnd(world, sleeper.mine);
        ExpectWhole(world);
      }
      ExpectNothingIsLeft(world);
      if (HasFailure()) return;
    }
  }
};

TEST_F(CopySleepers, DoNoHarmWhenOthersTakeTheirCopyOver) {
  SleepAtEveryStep(
      [](World& world) {
        world.Advance(kOwnerLeaseMs + 1);
        CopyInTheEnd(world, "");
      },
      true);
}
TEST_F(CopySleepers, DoNoHarmWhenTheirCopyIsDeleted) {
  SleepAtEveryStep([](World& world) { ASSERT_EQ(Failure(Actor(world, "D").Delete("c")), ""); },
                   true);
}
TEST_F(CopySleepers, DoNoHarmWhenTheirCopyIsDeletedAndMadeAgain) {
  SleepAtEveryStep(
      [](World& world) {
        ASSERT_EQ(Failure(Actor(world, "D").Delete("c")), "");
        EmptyTrash(world);
        CopyInTheEnd(world, "");
      },
      true);
}
TEST_F(CopySleepers, PublishNothingTornWhenTheirSourceIsDeleted) {
  SleepAtEveryStep(
      [](World& world) {
        ASSERT_EQ(Failure(Actor(world, "D").Delete("s")), "");
        (void)Actor(world, "T").EmptyTrash(2);  // Half of the data goes.
      },
      false);
}

// Makers, copiers and deleters of one volume and one snapshot, in an order drawn from a seed, of
// which some die and some of their operations arrive late.
class CopyStorm : public CopyChaos {
 protected:
  // Of the volume: by its newest record's own words.
  void CheckNow(World& world) {
    const auto paths = world.Paths();
    uint64_t newest = 0;
    const std::string top = ".gantry/volumes/c/";
    for (const auto& path : paths) {
      if (!path.starts_with(top) || path.size() == top.size() || path[top.size()] == '.') continue;
      newest = std::max(newest, uint64_t{std::stoull(path.substr(top.size()))});
    }
    if (newest == 0) return;
    const auto record = Decode(world.Content(top + std::to_string(newest)), "the newest");
    ASSERT_TRUE(record) << record.error().message;
    if (record->state != RecordState::kReady) return;
    ASSERT_TRUE(world.Has("c"));
    ASSERT_EQ(world.FileId("c"), record->fileid);
    ASSERT_EQ(ContentOf(world, "c"), whole_);
  }
  void Act(World& world, Schedule& schedule, size_t who, const FakeStorage::Before& before) {
    std::string mine[2];  // The cursors outlive the worker.
    for (size_t life = 0; life < 5; ++life) {
      CopyActor actor(world, "a" + std::to_string(who) + "l" + std::to_string(life), before);
      const size_t what = schedule.Draw(2);
      const Of of = what == 0 ? Of::kVolumes : Of::kSnapshots;
      const std::string handle = what == 0 ? "c" : "n";
      actor.mine = mine[what];
      switch (schedule.Draw(8)) {
        case 0:
          (void)actor.Delete(of, handle);
          break;
        case 1:
          (void)Actor(world, "t" + std::to_string(who) + "l" + std::to_string(life), before)
              .EmptyTrash(schedule.Draw(10) + 1);
          break;
        case 2:
          world.Advance(kOwnerLeaseMs + 1);
          [[fallthrough]];
        default:
          (void)actor.Create(of, handle, VolumeSource("s"));
          (void)actor.Copy(of, handle);
      }
      mine[what] = actor.mine;
    }
  }
};

TEST_F(CopyStorm, LeavesWholeCopiesOrNone) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    World world;
    Prepare(world);
    Schedule schedule(seed);
    const auto before = [&](size_t who) -> FakeStorage::Before {
      return [&, who] {
        schedule.Turn(who);
        if (schedule.Draw(16) == 0) CheckNow(world);
        if (world.HasDelayed() && schedule.Draw(30) == 0) world.RunDelayed();
        if (schedule.Draw(80) != 0) return Fault::kNone;
        constexpr Fault kMortal[] = {Fault::kDieBefore, Fault::kDieAfter, Fault::kDieDelayed,
                                     Fault::kLoseReply};
        return kMortal[schedule.Draw(4)];
      };
    };
    std::vector<std::function<void()>> actors;
    for (size_t i = 0; i < 3; ++i) {
      actors.push_back([&, i] { Act(world, schedule, i, before(i)); });
    }
    schedule.Run(actors);
    CheckNow(world);
    if (seed % 2 == 0) world.RunDelayed();
    CopyInTheEnd(world, "");
    ExpectWhole(world);
    world.RunDelayed();
    ExpectWhole(world);
    ASSERT_TRUE(CopyActor(world, "Z").Delete(Of::kSnapshots, "n"));
    ASSERT_EQ(Failure(Actor(world, "Z").Delete("c")), "");
    ASSERT_EQ(Failure(Actor(world, "Z").Delete("s")), "");
    for (int i = 0; i < 2; ++i) ASSERT_TRUE(CopyActor(world, "Z").CopyAll());
    EmptyTrash(world);
    for (const auto& path : Tidied(world)) {
      const bool litter = path.starts_with(".gantry/snapshots/") && path.ends_with('/');
      EXPECT_TRUE(litter || kNothingOfCopies.contains(path)) << path;
    }
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace gantry::plugin
