// SPDX-License-Identifier: Apache-2.0
// Deaths, late operations and races at every step of the record protocol.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "plugins/common/testing/actor.hpp"
#include "plugins/common/testing/schedule.hpp"
#include "plugins/common/volumes.hpp"

namespace gantry::plugin {
namespace {

using namespace testing;  // NOLINT: all of it is for this.

// Sanitizers look for other mistakes than the protocol's, and are slow.
#ifdef GANTRY_SANITIZED
constexpr uint64_t kSeeds = 60;
constexpr size_t kStride = 3;
#else
constexpr uint64_t kSeeds = 1500;
constexpr size_t kStride = 1;
#endif

constexpr Fault kDeaths[] = {Fault::kDieBefore, Fault::kDieAfter, Fault::kDieDelayed,
                             Fault::kLoseReply, Fault::kRefuse,   Fault::kAnswerLate};

// When the operation that a dead actor had sent arrives.
enum class Late { kBeforeRetry, kAfterRetry, kAfterDelete, kAfterRemake };
constexpr Late kLates[] = {Late::kBeforeRetry, Late::kAfterRetry, Late::kAfterDelete,
                           Late::kAfterRemake};

struct Scenario {
  const char* path;
  bool other_filesystem;
  Disposal disposal;
};
constexpr Scenario kScenarios[] = {
    {"p", false, Disposal::kDelete},      {"a/b/p", false, Disposal::kDelete},
    {"p", false, Disposal::kArchive},     {"p", false, Disposal::kRetain},
    {"other/p", true, Disposal::kDelete}, {"other/p", true, Disposal::kArchive}};

void Prepare(World& world, const Scenario& scenario) {
  world.MakePath("foreign/keep", NodeType::kFile, "precious");
  if (!scenario.other_filesystem) return;
  world.MakePath("other", NodeType::kDirectory);
  world.SetFilesystem("other", 2);
}

// Nothing of the volumes is left but what people wanted to keep.
void ExpectNothingLeft(World& world) {
  for (const auto& path : Tidied(world)) {
    EXPECT_TRUE(kNothing.contains(path) || path.starts_with("foreign") || path == "other/" ||
                path == "a/" || path == "a/b/")
        << path;
  }
  EXPECT_EQ(world.Content("foreign/keep"), "precious");
}

// An actor ends at one step of creating or deleting; others finish it, make the volume again and
// delete it, and what the first one had sent arrives at one of these moments.
void EndAtEveryStep(bool deleting) {
  for (const Scenario& scenario : kScenarios) {
    const VolumeSpec spec = Spec("h", scenario.path, scenario.disposal);
    const std::string file = std::string(scenario.path) + "/file";
    for (const Fault fault : kDeaths) {
      for (const Late late : kLates) {
        const bool is_late = fault == Fault::kDieDelayed || fault == Fault::kAnswerLate;
        if (!is_late && late != Late::kBeforeRetry) continue;
        bool reached = true;
        for (size_t step = 0; reached && step < kStepsMax; ++step) {
          SCOPED_TRACE(std::string(scenario.path) + " disposal " +
                       std::to_string(static_cast<int>(scenario.disposal)) + " fault " +
                       std::to_string(static_cast<int>(fault)) + " late " +
                       std::to_string(static_cast<int>(late)) + " step " + std::to_string(step));
          World world;
          Prepare(world, scenario);
          if (deleting) {
            ASSERT_TRUE(Actor(world, "A").Create(spec));
            world.MakePath(file, NodeType::kFile, "first");
          }
          Actor ended(world, "E", At(step, fault));
          if (deleting) {
            (void)ended.Delete("h");
          } else {
            (void)ended.Create(spec);
          }
          reached = ended.operations() > step;
          const auto arrive = [&](Late when) {
            if (late == when) world.RunDelayed();
          };
          const auto remove_kept = [&] {  // So that the next check sees only its own.
            for (const std::string& kept :
                 {std::string(scenario.path), scenario.other_filesystem
                                                  ? std::string("other/archived-pvc-h")
                                                  : std::string("archived-pvc-h")}) {
              if (world.Has(kept)) {
                world.MakePath("foreign/aside", NodeType::kDirectory);
                if (scenario.other_filesystem) world.SetFilesystem("foreign/aside", 2);
                static int n = 0;
                world.MoveByHand(kept, "foreign/aside/" + std::to_string(++n));
              }
            }
          };

          arrive(Late::kBeforeRetry);
          Actor second(world, "S");
          if (deleting) {
            const auto deleted = second.Delete("h");
            ASSERT_TRUE(deleted) << deleted.error().message;
            ASSERT_EQ(world.Has(scenario.path), scenario.disposal == Disposal::kRetain);
          } else {
            const auto record = second.Create(spec);
            ASSERT_TRUE(record) << record.error().message;
            ExpectVolume(world, "h", scenario.path);
            world.MakePath(file, NodeType::kFile, "first");
          }
          arrive(Late::kAfterRetry);
          if (!deleting) {
            ExpectVolume(world, "h", scenario.path);
            ASSERT_TRUE(world.Has(file));
            ASSERT_EQ(Failure(Actor(world, "D").Delete("h")), "");
          }
          if (scenario.disposal == Disposal::kArchive) {
            ASSERT_TRUE(world.Has(scenario.other_filesystem ? "other/archived-pvc-h/file"
                                                            : "archived-pvc-h/file"));
          }
          remove_kept();
          arrive(Late::kAfterDelete);
          ASSERT_FALSE(world.Has(scenario.path));

          const auto remade = Actor(world, "R").Create(spec);
          ASSERT_TRUE(remade) << remade.error().message;
          world.MakePath(file, NodeType::kFile, "second");
          arrive(Late::kAfterRemake);
          ExpectVolume(world, "h", scenario.path);
          ASSERT_TRUE(world.Has(file));
          EXPECT_EQ(world.Content(file), "second");
          ASSERT_EQ(Failure(Actor(world, "D2").Delete("h")), "");
          remove_kept();
          EmptyTrash(world);
          ExpectNothingLeft(world);
          if (::testing::Test::HasFailure()) return;
        }
        EXPECT_FALSE(reached) << "the protocol takes more steps than expected";
      }
    }
  }
}

TEST(Volumes, AreMadeOnceWhereverAMakerEnds) { EndAtEveryStep(false); }
TEST(Volumes, AreDeletedOnceWhereverADeleterEnds) { EndAtEveryStep(true); }

TEST(Volumes, AreMadeOnceWhereverTwoMakersEndAfterEachOther) {
  for (const Fault fault : {Fault::kDieAfter, Fault::kDieDelayed}) {
    for (size_t first = 0; first < 40; first += kStride) {
      for (size_t second = 0; second < 60; second += kStride) {
        SCOPED_TRACE(std::to_string(first) + " " + std::to_string(second));
        World world;
        (void)Actor(world, "A", At(first, fault)).Create(Spec("h", "d/p"));
        (void)Actor(world, "B", At(second, fault)).Create(Spec("h", "d/p"));
        const auto made = Actor(world, "C").Create(Spec("h", "d/p"));
        ASSERT_TRUE(made) << made.error().message;
        world.MakePath("d/p/file", NodeType::kFile);
        world.RunDelayed();
        ExpectVolume(world, "h", "d/p");
        ASSERT_TRUE(world.Has("d/p/file"));
        ASSERT_EQ(Failure(Actor(world, "D").Delete("h")), "");
        EmptyTrash(world);
        ASSERT_EQ(Tidied(world), With(kNothing, {"d/"}));
      }
    }
  }
}

// At one step of an actor's operation others do their work; then it goes on with what it knew.
FakeStorage::Before Meanwhile(size_t step, std::function<void()> others) {
  return [step, others = std::move(others), n = size_t{0}]() mutable {
    if (n++ == step) others();
    return Fault::kNone;
  };
}

// How far others get while an actor sleeps.
constexpr size_t kTrashedAll = 8;  // More than a deleted volume leaves.
struct Meantime {
  size_t trash_removals;  // After the volume was deleted.
  bool remade;            // And made again.
};

std::vector<Meantime> Meantimes() {
  std::vector<Meantime> all;
  for (size_t removals = 0; removals <= kTrashedAll; ++removals) {
    all.push_back({removals, false});
    all.push_back({removals, true});
  }
  return all;
}

// A deleter has read the record that it is to delete after so many operations at most; before, it
// means whichever it will find.
constexpr size_t kDeleterKnowsAfter = 9;

// `prepare` makes a record, `operation` is the sleeper's; a volume that was made again in the
// meantime, when the sleeper already knew the old one, stays, and nothing is left over in the end.
void SleepAtEveryStep(const std::function<void(World&)>& prepare, size_t knows_after,
                      const std::function<void(Actor&)>& operation) {
  for (const Meantime meantime : Meantimes()) {
    bool reached = true;
    for (size_t step = 0; reached; ++step) {
      SCOPED_TRACE("removals " + std::to_string(meantime.trash_removals) + " remade " +
                   std::to_string(meantime.remade) + " step " + std::to_string(step));
      ASSERT_LT(step, kStepsMax);
      World world;
      world.MakePath("foreign/keep", NodeType::kFile, "precious");
      prepare(world);
      Actor sleeper(world, "sleeper", Meanwhile(step, [&] {
                      ASSERT_EQ(Failure(Actor(world, "D").Delete("h")), "");
                      if (meantime.trash_removals > 0) {
                        (void)Actor(world, "T").EmptyTrash(meantime.trash_removals);
                      }
                      if (!meantime.remade) return;
                      ASSERT_EQ(Failure(Actor(world, "R").Create(Spec("h", "a/p"))), "");
                      world.MakePath("a/p/file", NodeType::kFile, "second");
                    }));
      operation(sleeper);
      reached = sleeper.operations() > step;
      if (reached && meantime.remade && step >= knows_after) {
        ExpectVolume(world, "h", "a/p");
        ASSERT_TRUE(world.Has("a/p/file"));
      }
      if (const auto got = Actor(world, "G").Get("h")) ExpectVolume(world, "h", "a/p");
      ASSERT_EQ(Failure(Actor(world, "D").Delete("h")), "");
      EmptyTrash(world);
      EXPECT_EQ(Tidied(world), With(kNothing, {"foreign/", "foreign/keep", "a/"}));
      if (::testing::Test::HasFailure()) return;
    }
  }
}

void MakeWhole(World& world) { ASSERT_TRUE(Actor(world, "A").Create(Spec("h", "a/p"))); }
// Two makers that died before they had claimed the directory.
void MakeHalf(World& world) {
  constexpr size_t kAfterFirstVersion = 21;
  (void)Actor(world, "A", At(kAfterFirstVersion, Fault::kDieBefore)).Create(Spec("h", "a/p"));
  (void)Actor(world, "B", At(kAfterFirstVersion, Fault::kDieBefore)).Create(Spec("h", "a/p"));
  world.MakePath("a", NodeType::kDirectory);
}

TEST(Volumes, SurviveAMakerWhoSleepsAtAnyStep) {
  SleepAtEveryStep(MakeHalf, 0, [](Actor& actor) { (void)actor.Create(Spec("h", "a/p")); });
}
TEST(Volumes, SurviveADeleterWhoSleepsAtAnyStep) {
  SleepAtEveryStep(MakeWhole, kDeleterKnowsAfter, [](Actor& actor) { (void)actor.Delete("h"); });
}
TEST(Volumes, SurviveADeleterOfAHalfWhoSleepsAtAnyStep) {
  SleepAtEveryStep(MakeHalf, kDeleterKnowsAfter, [](Actor& actor) { (void)actor.Delete("h"); });
}
TEST(Volumes, SurviveAGrowerWhoSleepsAtAnyStep) {
  SleepAtEveryStep(MakeWhole, 0, [](Actor& actor) { (void)actor.Expand("h", 5000); });
}

TEST(Volumes, AreNotClaimedForByWhatADeadMakerHadSent) {
  constexpr size_t kMakersStepsMax = 32;
  for (size_t first = 10; first < kMakersStepsMax; first += kStride) {
    for (size_t second = 10; second < kMakersStepsMax; second += kStride) {
      for (size_t third = 10; third < kMakersStepsMax; third += kStride) {
        World world;
        (void)Actor(world, "A", At(first, Fault::kDieBefore)).Create(Spec("outer", "a"));
        (void)Actor(world, "B", At(second, Fault::kDieDelayed)).Create(Spec("outer", "a"));
        (void)Actor(world, "C", At(third, Fault::kDieBefore)).Create(Spec("outer", "a"));
        const bool inside = Actor(world, "X").Create(Spec("inner", "a/b")).has_value();
        ASSERT_EQ(Failure(Actor(world, "D").Delete("outer")), "");
        world.RunDelayed();
        ASSERT_FALSE(world.Has(".gantry/claims/a/=claim"))
            << first << " " << second << " " << third;
        if (inside) ExpectVolume(world, "inner", "a/b");
      }
    }
  }
}

// Makers, deleters and growers of volumes that share a name or a path, in an order drawn from a
// seed, of which some die and some of their operations arrive late.
class Chaos {
 public:
  Chaos(uint64_t seed, bool mortal) : schedule_(seed), mortal_(mortal) {
    world_.MakePath("foreign/keep", NodeType::kFile, "precious");
  }

  FakeStorage::Before Before(size_t actor) {
    return [this, actor] {
      schedule_.Turn(actor);
      if (world_.HasDelayed() && schedule_.Draw(30) == 0) world_.RunDelayed();
      if (mortal_ && schedule_.Draw(60) == 0) {
        constexpr Fault kMortal[] = {Fault::kDieBefore, Fault::kDieAfter, Fault::kDieDelayed,
                                     Fault::kLoseReply, Fault::kAnswerLate};
        return kMortal[schedule_.Draw(5)];
      }
      return Fault::kNone;
    };
  }
  World& world() { return world_; }
  Schedule& schedule() { return schedule_; }

 private:
  World world_;
  Schedule schedule_;
  const bool mortal_;
};

TEST(Volumes, OfOneNameAreOneWhenTwoMakersRace) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    Chaos chaos(seed, false);
    std::vector<Result<Record>> made(2);
    std::vector<std::function<void()>> actors;
    for (size_t i = 0; i < 2; ++i) {
      actors.push_back([&, i] {
        Actor actor(chaos.world(), "actor" + std::to_string(i), chaos.Before(i));
        made[i] = actor.Create(Spec("h", "a/p"));
      });
    }
    chaos.schedule().Run(actors);
    ExpectVolume(chaos.world(), "h", "a/p");
    bool any = false;
    for (const auto& result : made) {
      any = any || result;
      if (!result) {
        EXPECT_EQ(result.error().code, code::kAborted) << result.error().message;
        continue;
      }
      EXPECT_EQ(result->fileid, chaos.world().FileId("a/p"));
    }
    EXPECT_TRUE(any);
    ASSERT_EQ(Failure(Actor(chaos.world(), "D").Delete("h")), "");
    EmptyTrash(chaos.world());
    ASSERT_EQ(Tidied(chaos.world()), With(kNothing, {"foreign/", "foreign/keep", "a/"}));
  }
}

TEST(Volumes, ThatWouldNestAreNeverBothMade) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    Chaos chaos(seed, false);
    Result<Record> outer;
    Result<Record> inner;
    chaos.schedule().Run({[&] {
                            Actor actor(chaos.world(), "O", chaos.Before(0));
                            outer = actor.Create(Spec("outer", "a"));
                          },
                          [&] {
                            Actor actor(chaos.world(), "I", chaos.Before(1));
                            inner = actor.Create(Spec("inner", "a/b"));
                          }});
    EXPECT_FALSE(outer && inner);
    ASSERT_EQ(Failure(Actor(chaos.world(), "D").Delete("outer")), "");
    ASSERT_EQ(Failure(Actor(chaos.world(), "D").Delete("inner")), "");
    EmptyTrash(chaos.world());
    const auto left = Tidied(chaos.world());
    ASSERT_TRUE(left == With(kNothing, {"foreign/", "foreign/keep", "a/"}) ||
                left == With(kNothing, {"foreign/", "foreign/keep"}));
  }
}

TEST(Volumes, LeaveNothingAndTouchNothingForeignInAnyOrderOfLifeAndDeath) {
  const auto act = [](Chaos& chaos, size_t i, uint64_t seed) {
    // Every actor does a few things; one that died is born again.
    for (size_t life = 0; life < 4; ++life) {
      Actor actor(chaos.world(), "a" + std::to_string(i) + "l" + std::to_string(life),
                  chaos.Before(i));
      const Disposal disposal = seed % 3 == 0 ? Disposal::kArchive : Disposal::kDelete;
      switch ((seed + i + life) % 6) {
        case 0:
        case 1:
          (void)actor.Create(Spec("h", "a/p", disposal));
          break;
        case 2:
          (void)actor.Delete("h");
          break;
        case 5:
          (void)actor.EmptyTrash(chaos.schedule().Draw(10) + 1);
          break;
        case 3:
          (void)actor.Create(Spec("k", i % 2 == 0 ? "a/p" : "a", disposal));
          break;
        default:
          (void)actor.Expand("h", 2000 + seed);
          (void)actor.Delete("k");
      }
    }
  };
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    Chaos chaos(seed, true);
    std::vector<std::function<void()>> actors;
    for (size_t i = 0; i < 3; ++i) actors.push_back([&, i] { act(chaos, i, seed); });
    chaos.schedule().Run(actors);

    // Whoever comes last has it right, and what comes late changes nothing.
    World& world = chaos.world();
    const bool is_h = seed % 2 == 0;
    const std::string handle = is_h ? "h" : "k";
    ASSERT_EQ(Failure(Actor(world, "Z").Delete(handle)), "");
    if (seed % 4 < 2) world.RunDelayed();
    const auto remade = Actor(world, "Z").Create(Spec(handle, "a/p"));
    if (remade) {
      const std::string file = Join(remade->path) + "/file";
      world.MakePath(file, NodeType::kFile);
      world.RunDelayed();
      ASSERT_TRUE(world.Has(file));
      const auto got = Actor(world, "Z").Get(remade->handle);
      ASSERT_TRUE(got) << got.error().message;
      EXPECT_EQ(got->incarnation, remade->incarnation);
    }
    world.RunDelayed();
    ASSERT_EQ(Failure(Actor(world, "Z").Delete("h")), "");
    ASSERT_EQ(Failure(Actor(world, "Z").Delete("k")), "");
    EmptyTrash(world);
    for (const auto& path : Tidied(world)) {
      EXPECT_TRUE(kNothing.contains(path) || path.starts_with("foreign/") || path == "a/" ||
                  path.find("archived-") != std::string::npos ||
                  (remade && !remade->created && path == Join(remade->path) + "/file"))
          << path;
    }
    EXPECT_EQ(world.Content("foreign/keep"), "precious");
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace gantry::plugin
