// SPDX-License-Identifier: Apache-2.0
// Every animal of the zoo beside a healthy backend: the host stays up, the healthy one answers as
// before, the caller gets the code that the documentation names, and the log names the culprit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <sstream>
#include <thread>

#include "host/base/file.hpp"
#include "tests/integration/zoo_lab.hpp"

namespace gantry::tests {
namespace {

using grpc::StatusCode;
using namespace std::chrono_literals;
using ::testing::AnyOf;
using ::testing::Eq;
using ::testing::HasSubstr;

// --- that cannot be loaded ------------------------------------------------------------------

TEST_F(ZooTest, OnesThatCannotBeLoadedLeaveTheHostAndTheOthersAlone) {
  const std::map<std::string, std::string> reasons{
      {"bad_magic", "magic is 0x12345678"},
      {"wrong_major", "abi_major is 7, expected 0"},
      {"future_minor", "abi_minor is "},
      {"undefined_symbol", "gantry_zoo_nobody_defines_this"},
      {"no_entry", "gantry_plugin_entry_v0"},
      {"null_manifest", "manifest is NULL"},
      {"null_create", "create is NULL, expected a function"},
      {"bad_manifest", "manifest.calls_max is 1000"},
      {"refuses", "it needs minor 9"},
      {"aborts_on_load", "the worker died during CREATE_INSTANCE"},
      {"aborts_on_create", "the worker died during CREATE_INSTANCE"},
      {"throws_in_create", "the worker died during CREATE_INSTANCE"}};
  std::vector<std::string> animals;
  for (const auto& [animal, reason] : reasons) animals.push_back(animal);
  Keep(animals);
  Beside([&] {
    for (const auto& [animal, reason] : reasons) {
      std::string backend = animal;
      std::replace(backend.begin(), backend.end(), '_', '-');
      const auto answer = Create(backend, "x");
      EXPECT_EQ(answer.code, StatusCode::UNAVAILABLE) << animal << ": " << answer.message;
      EXPECT_THAT(answer.message, HasSubstr(backend));
      EXPECT_THAT(answer.message, HasSubstr(reason));
      ExpectCulprit(backend, reason);
    }
  });
}

TEST_F(ZooTest, NullSlotsAreFeaturesThatAreNotThere) {
  Keep({"null_slots"});
  Beside([&] {
    EXPECT_EQ(Create("null-slots", "x").code, StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(Delete("null-slots:x").code, StatusCode::OK);
  });
}

// --- that die -------------------------------------------------------------------------------

TEST_F(ZooTest, ACallThatKillsItsWorkerTwiceIsUnavailable) {
  Keep({"aborts_on_op", "throws_on_op"});
  Beside([&] {
    for (const std::string backend : {"aborts-on-op", "throws-on-op"}) {
      EXPECT_EQ(Create(backend, "x").code, StatusCode::UNAVAILABLE);
      EXPECT_EQ(Delete(backend + ":other").code, StatusCode::OK) << "it is started again";
      ExpectCulprit(backend, "killed by SIGABRT");
    }
  });
  ExpectCulprit("throws-on-op", "let an exception leave create_volume: out of an operation");
}

TEST_F(ZooTest, ReplaysHideASegfaultEveryThirdCall) {
  Keep({"segfaults_at_third_call"});
  Beside([&] {
    for (int i = 0; i < 9; ++i)
      EXPECT_EQ(Create("segfaults-at-third-call", "v" + std::to_string(i)).code, StatusCode::OK);
  });
#ifdef GANTRY_SANITIZED
  ExpectCulprit("segfaults-at-third-call", "exited with ");  // by the sanitizer's handler
#else
  ExpectCulprit("segfaults-at-third-call", "killed by SIGSEGV");
#endif
}

TEST_F(ZooTest, AVolumeThatIsPoisonHarmsNoOther) {
  Keep({"poison"});
  Beside([&] {
    for (int i = 0; i < 2; ++i) {
      EXPECT_EQ(Create("poison", "good" + std::to_string(i)).code, StatusCode::OK);
      EXPECT_EQ(Create("poison", "poison").code, StatusCode::UNAVAILABLE);
    }
  });
  ExpectCulprit("poison", "killed by SIGABRT");
  ExpectCulprit("poison", "under way at its end: CREATE_VOLUME key ");
}

TEST_F(ZooTest, OneThatDiesWhenStoppedDoesNotKeepTheHostFromEnding) {
  Keep({"aborts_on_stop", "slow_drain"});
  const auto status = host().Terminate();
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(status->Describe(), "exited with 0");
  EXPECT_THAT(host().Log(), HasSubstr("aborts-on-stop: STOP: the worker died"));
  ASSERT_TRUE(host().Restart());
}

// --- that do not end ------------------------------------------------------------------------

TEST_F(ZooTest, AHungPluginIsReplacedAndItsVolumesAreFree) {
  Keep({"hangs"}, {"stuck: {grace_ms: 300, age_ms_max: 60000, calls_max: 4}"});
  Beside([&] {
    EXPECT_EQ(Create("hangs", "a", 200ms).code, StatusCode::DEADLINE_EXCEEDED);
    EXPECT_EQ(Create("hangs", "a", 200ms).code, StatusCode::ABORTED) << "it is still under way";
    EXPECT_EQ(Create("hangs", "b", 200ms).code, StatusCode::DEADLINE_EXCEEDED);
    EXPECT_EQ(Create("hangs", "c", 200ms).code, StatusCode::DEADLINE_EXCEEDED);
    ExpectCulprit("hangs", "nothing answered, the last 3 calls in vain");
    EXPECT_TRUE(Eventually([&] {
      return Create("hangs", "a", 200ms).code == StatusCode::DEADLINE_EXCEEDED;
    })) << "its volume is free again";
  });
}

TEST_F(ZooTest, OneStuckCallAmongAnsweredOnesIsEndedWhenItsVolumeHasWaitedLongEnough) {
  Keep({"never_finishes"}, {"stuck: {grace_ms: 100, age_ms_max: 2000, calls_max: 4}"});
  Beside([&] {
    EXPECT_EQ(Create("never-finishes", "lost", 200ms).code, StatusCode::DEADLINE_EXCEEDED);
    const auto begin = std::chrono::steady_clock::now();
    const auto workers = host().WorkerPids("never-finishes");
    int answered = 0;
    while (std::chrono::steady_clock::now() - begin < 1500ms) {
      EXPECT_EQ(Create("never-finishes", "good" + std::to_string(answered++)).code, StatusCode::OK);
    }
    EXPECT_EQ(host().WorkerPids("never-finishes"), workers) << "it serves others well";
    EXPECT_EQ(Create("never-finishes", "lost", 100ms).code, StatusCode::ABORTED);
    ExpectCulprit("never-finishes", "its volume must be freed");
    EXPECT_TRUE(Eventually([&] {
      return Create("never-finishes", "lost", 100ms).code == StatusCode::DEADLINE_EXCEEDED;
    }));
  });
}

TEST_F(ZooTest, ALateFinishFreesTheVolumeAndNothingElse) {
  Keep({"finishes_too_late"});
  Beside([&] {
    EXPECT_EQ(Create("finishes-too-late", "a", 200ms).code, StatusCode::DEADLINE_EXCEEDED);
    EXPECT_EQ(Create("finishes-too-late", "a", 200ms).code, StatusCode::ABORTED);
    EXPECT_TRUE(Eventually(
        [&] { return Create("finishes-too-late", "a", 200ms).code != StatusCode::ABORTED; }));
  });
  ExpectCulprit("finishes-too-late", "finished late");
  EXPECT_EQ(host().Log().find("finishes-too-late: worker of generation"), std::string::npos);
}

TEST_F(ZooTest, OneThatEmitsWithoutEndIsAnsweredAtTheDeadline) {
  Keep({"emits_endlessly"});
  Beside([&] {
    csi::v1::ListVolumesRequest request;
    request.set_max_entries(10);
    csi::v1::ListVolumesResponse response;
    const auto status = controller().ListVolumes(lab::Within(1s).get(), request, &response);
    EXPECT_EQ(status.error_code(), StatusCode::DEADLINE_EXCEEDED);
    EXPECT_EQ(Create("emits-endlessly", "x").code, StatusCode::OK);
  });
}

// --- that break the rules and live ----------------------------------------------------------

TEST_F(ZooTest, FinishesTwiceAndEmitsRubbish) {
  Keep({"double_finish", "emits_junk"});
  Beside([&] {
    for (int i = 0; i < 5; ++i) {
      EXPECT_EQ(Create("double-finish", "v" + std::to_string(i)).code, StatusCode::OK);
      EXPECT_EQ(Create("emits-junk", "bad handle").code, StatusCode::UNAVAILABLE);
      EXPECT_EQ(Create("emits-junk", "wrong item").code, StatusCode::UNAVAILABLE);
      EXPECT_EQ(Create("emits-junk", "not utf-8").code, StatusCode::UNAVAILABLE);
      EXPECT_EQ(Create("emits-junk", "unknown code").code, StatusCode::UNAVAILABLE);
    }
  });
  ExpectCulprit("double-finish", "the plugin misbehaves");
}

TEST_F(ZooTest, FloodsItsLog) {
  Keep({"floods_log"});
  Beside([&] {
    for (int i = 0; i < 5; ++i)
      EXPECT_EQ(Create("floods-log", "v" + std::to_string(i)).code, StatusCode::OK);
  });
}

// Its own limits end it or refuse it more; whatever comes first, the host is not who pays.
TEST_F(ZooTest, LeaksMemoryThreadsAndFds) {
  Keep({"leaks_memory", "leaks_threads", "leaks_fds"}, {"limits: {memory_mib: 128, threads: 128}"});
  Beside([&] {
    for (int i = 0; i < 20; ++i) {
      const std::string name = "v" + std::to_string(i);
      for (const std::string backend : {"leaks-memory", "leaks-threads", "leaks-fds"})
        EXPECT_THAT(Create(backend, name).code, AnyOf(Eq(StatusCode::OK), StatusCode::UNAVAILABLE));
    }
    for (const std::string backend : {"leaks-memory", "leaks-threads", "leaks-fds"})
      EXPECT_TRUE(Eventually([&] { return Create(backend, "later").code == StatusCode::OK; }));
  });
#ifndef GANTRY_SANITIZED  // whose workers have no limit of memory
  ExpectCulprit("leaks-memory", "worker of generation 1 ");
#endif
}

// --- that lay hands on the channel ----------------------------------------------------------

TEST_F(ZooTest, ClosesFds) {
  Keep({"closes_fds", "closes_channel"});
  Beside([&] {
    EXPECT_EQ(Create("closes-fds", "x").code, StatusCode::OK) << "the channel is out of the way";
    EXPECT_EQ(Create("closes-channel", "x").code, StatusCode::UNAVAILABLE);
    EXPECT_EQ(Delete("closes-channel:x").code, StatusCode::OK);
  });
  ExpectCulprit("closes-channel", "worker of generation 1");
}

TEST_F(ZooTest, WritesRubbishIntoTheChannel) {
  Keep({"writes_rubbish"});
  Beside([&] {
    EXPECT_EQ(Create("writes-rubbish", "x").code, StatusCode::UNAVAILABLE);
    EXPECT_EQ(Delete("writes-rubbish:x").code, StatusCode::OK);
  });
  ExpectCulprit("writes-rubbish", "generation 1");
}

TEST_F(ZooTest, StopsReadingTheChannel) {
  Keep({"stops_reading"});
  Beside([&] {
    EXPECT_THAT(Create("stops-reading", "x", 1s).code,
                AnyOf(Eq(StatusCode::OK), StatusCode::DEADLINE_EXCEEDED));
    EXPECT_EQ(Delete("stops-reading:x", 1s).code, StatusCode::DEADLINE_EXCEEDED);
    ExpectCulprit("stops-reading", "answers no ping");
    EXPECT_EQ(Delete("stops-reading:y").code, StatusCode::OK);
  });
}

TEST_F(ZooTest, AForkedChildHoldsNeitherTheLeaseNorTheBackend) {
  Keep({"forks"});
  Beside([&] {
    EXPECT_EQ(Create("forks", "and dies").code, StatusCode::UNAVAILABLE);
    EXPECT_EQ(Create("forks", "afterwards", 5s).code, StatusCode::OK);
  });
  ExpectCulprit("forks", "killed by SIGABRT");
}

// --- what it had asked for ------------------------------------------------------------------

// Processes below the test's gantryd whose command line has these words.
size_t Running(const std::string& words) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    auto command = base::ReadFile(entry.path() / "cmdline", 65536).value_or("");
    std::replace(command.begin(), command.end(), '\0', ' ');
    if (command.find(words) != std::string::npos) ++count;
  }
  return count;
}

TEST_F(ZooTest, AHelperProgramIsGoneBeforeTheCallIsReplayed) {
  Keep({"helped"},
       {"grants: {helpers: {wait: {program: /bin/sleep, arguments: [[\"{number}\"]]}}}"});
  ASSERT_EQ(Running("/bin/sleep 7321"), 0U);
  Beside([&] {
    for (int i = 0; i < 3; ++i) {
      Answer answer;
      std::thread caller([&] {
        answer = Create("helped", "exec");
        EXPECT_EQ(Running("/bin/sleep 7321"), 0U) << "the replay has answered already";
      });
      EXPECT_TRUE(Eventually([] { return Running("/bin/sleep 7321") > 0; }));
      for (const pid_t pid : host().WorkerPids("helped")) kill(pid, SIGKILL);
      caller.join();
      EXPECT_EQ(answer.code, StatusCode::OK) << answer.message;
      EXPECT_EQ(answer.id, "helped:attempt-2");
    }
  });
}

TEST_F(ZooTest, RunsAJobInAProcessOfItsOwn) {
  Keep({"helped"});
  const auto answer = Create("helped", "job echo");
  EXPECT_EQ(answer.code, StatusCode::OK) << answer.message;
  EXPECT_EQ(answer.id, "helped:100004-echo");
  EXPECT_EQ(Create("helped", "job refuse").code, StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(Create("helped", "job flood").code, StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Create("helped", "job crash").code, StatusCode::UNAVAILABLE);
  EXPECT_EQ(Create("helped", "job Bad/Name").code, StatusCode::INVALID_ARGUMENT);
  ExpectCulprit("helped job crash", "killed by SIGABRT");
  ExpectCulprit("helped job echo", "the job runs");
  EXPECT_EQ(host().Log().find("helped: worker of generation"), std::string::npos)
      << "the worker itself has lost nothing";
}

TEST_F(ZooTest, AJobThatBlocksIsKilledAtItsDeadlineWhileOtherCallsGoOn) {
  Keep({"helped"});
  Beside([&] {
    std::vector<std::thread> blocked;
    // One more than may run at once.
    for (int i = 0; i < 3; ++i)
      blocked.emplace_back([this] {
        const auto code = Create("helped", "job block", 3s).code;
        EXPECT_THAT(code, AnyOf(Eq(StatusCode::DEADLINE_EXCEEDED), StatusCode::ABORTED));
      });
    EXPECT_TRUE(Eventually([] { return Running("--job block") > 0; }));
    for (int i = 0; i < 50; ++i)
      EXPECT_EQ(Create("helped", "kv" + std::to_string(i), 2s).code, StatusCode::OK);
    EXPECT_GT(Running("--job block"), 0U);
    for (auto& thread : blocked) thread.join();
    EXPECT_TRUE(Eventually([] { return Running("--job block") == 0; }));
  });
  EXPECT_EQ(host().Log().find("helped: worker of generation"), std::string::npos);
}

TEST_F(ZooTest, AJobIsGoneBeforeTheCallIsReplayedAndWhenItsHostIsKilled) {
  Keep({"helped"});
  Beside([&] {
    Answer answer;
    std::thread caller([&] {
      answer = Create("helped", "job block");
      EXPECT_EQ(Running("--job block"), 0U) << "the replay has answered already";
    });
    EXPECT_TRUE(Eventually([] { return Running("--job block") == 1; }));
    for (const pid_t pid : host().WorkerPids("helped")) kill(pid, SIGKILL);
    caller.join();
    EXPECT_EQ(answer.id, "helped:attempt-2");
  });
  std::thread caller([&] { Create("helped", "job block", 10s); });
  EXPECT_TRUE(Eventually([] { return Running("--job block") == 1; }));
  ASSERT_TRUE(host().Kill(SIGKILL));
  EXPECT_TRUE(Eventually([] { return Running("--job block") == 0; }));
  caller.join();
  ASSERT_TRUE(host().Restart());
}

// --- that lie -------------------------------------------------------------------------------

struct HostileSource {
  const char* what;
  const char* wish;  // type|source|option
  const char* named;
};

TEST_F(ZooTest, HostileSourcesAreRefusedAndNothingIsMounted) {
  Keep({"hostile_sources"},
       {"grants: {servers: [10.0.0.1], fs_types: [nfs, tmpfs], mount_options: [\"size=*\"]}"});
  const std::vector<HostileSource> wishes{
      {"the host's disk as a filesystem", "ext4|/dev/sda|", "ext4"},
      {"the host's disk as a granted type", "nfs|/dev/sda|", "/dev/sda"},
      {"the host's disk as a device", "block|/dev/sda|", ""},
      {"another server's export", "nfs|10.9.9.9:/secret|", "10.9.9.9"},
      {"a server hidden behind the granted one", "nfs|10.0.0.1,10.9.9.9:/x|", ""},
      {"an option that mount(8) would take for its own", "nfs|10.0.0.1:/x|-o remount", ""},
      {"options in one option", "nfs|10.0.0.1:/x|size=1,suid", "suid"},
      {"setuid programs", "nfs|10.0.0.1:/x|suid", "suid"},
      {"devices", "nfs|10.0.0.1:/x|dev", "dev"},
      {"a directory of the host", "none|/etc|bind", ""},
      {"a directory of the host as a granted type", "tmpfs|/etc|bind", "bind"},
      {"an option that is not granted", "tmpfs|x|mpol=bind", "mpol"},
      {"a server's address in an option", "nfs|10.0.0.1:/x|addr=10.9.9.9", "addr"}};
  Beside([&] {
    for (const auto& wish : wishes) {
      const auto answer = Stage("hostile-sources:v1", wish.wish);
      EXPECT_THAT(answer.code,
                  AnyOf(Eq(StatusCode::PERMISSION_DENIED), StatusCode::INVALID_ARGUMENT,
                        StatusCode::FAILED_PRECONDITION, StatusCode::UNIMPLEMENTED))
          << wish.what << ": " << answer.message;
      EXPECT_THAT(answer.message, HasSubstr(wish.named)) << wish.what;
      EXPECT_THAT(MountsOfHost(), ::testing::IsEmpty()) << wish.what;
    }
  });
}

// Two backends on one server, each granted its own export: neither may name the other's.
TEST_F(ZooTest, AnotherBackendsExportOnTheSameServerIsRefused) {
  Keep({"hostile_sources"},
       {"grants: {exports: [\"10.0.0.1:/exports/mine\"], fs_types: [\"nfs*\"], "
        "mount_options: [\"addr=*\"]}"});
  for (const char* wish :
       {"nfs4|10.0.0.1:/exports/theirs|", "nfs|10.0.0.1:/exports/mine/../theirs|",
        "nfs4|10.0.0.1:/exports/mine-too|", "nfs4|10.0.0.1:/exports|", "nfs4|10.0.0.1:/|",
        "nfs4|[::ffff:10.0.0.1]:/exports/theirs|", "nfs4|10.0.0.1:/exports/mine|addr=10.0.0.2"}) {
    const auto answer = Stage("hostile-sources:v1", wish);
    EXPECT_EQ(answer.code, StatusCode::PERMISSION_DENIED) << wish << ": " << answer.message;
    EXPECT_THAT(answer.message, HasSubstr("backends.hostile-sources.grants.exports")) << wish;
    EXPECT_THAT(MountsOfHost(), ::testing::IsEmpty()) << wish;
  }
}

TEST_F(ZooTest, WhatAPluginMayMountHoldsNeitherSetuidProgramsNorDevices) {
  Keep({"hostile_sources"},
       {"grants: {servers: [x], fs_types: [tmpfs], mount_options: [\"size=*\"]}"});
  const auto answer = Stage("hostile-sources:v1", "tmpfs|x|size=1048576");
  ASSERT_EQ(answer.code, StatusCode::OK) << answer.message;
  const auto mounts = MountsOfHost();
  ASSERT_EQ(mounts.size(), 1U);
  EXPECT_THAT(mounts[0], HasSubstr("nosuid"));
  EXPECT_THAT(mounts[0], HasSubstr("nodev"));
}

TEST_F(ZooTest, ARestartThatOffersLessGetsNoCalls) {
  Keep({"changes_capabilities"});
  EXPECT_EQ(Create("changes-capabilities", "x").code, StatusCode::OK);
  for (const pid_t pid : host().WorkerPids("changes-capabilities")) kill(pid, SIGKILL);
  ExpectCulprit("changes-capabilities", "gantry.controller/1:create_volume");
  const auto answer = Create("changes-capabilities", "y", 2s);
  EXPECT_THAT(answer.code, AnyOf(Eq(StatusCode::UNAVAILABLE), StatusCode::DEADLINE_EXCEEDED))
      << answer.message;
}

// --- foreign runtimes -----------------------------------------------------------------------

TEST_F(ZooTest, BringsItsOwnProtobufAndGrpc) {
  Keep({"own_grpc"});
  Beside([&] {
    for (int i = 0; i < 20; ++i) {
      const auto answer = Create("own-grpc", "v" + std::to_string(i));
      EXPECT_EQ(answer.code, StatusCode::OK) << answer.message;
      EXPECT_EQ(answer.id, "own-grpc:array-v" + std::to_string(i));
    }
  });
}

TEST_F(ZooTest, BringsARustRuntime) {
  Keep({"rust_backend"});
  Beside([&] {
    for (int i = 0; i < 20; ++i) {
      const auto answer = Create("rust-backend", "v" + std::to_string(i));
      EXPECT_EQ(answer.code, StatusCode::OK) << answer.message;
      EXPECT_EQ(answer.id, "rust-backend:rust-v" + std::to_string(i));
    }
    EXPECT_EQ(Create("rust-backend", "panic").code, StatusCode::UNAVAILABLE);
    EXPECT_EQ(Create("rust-backend", "later").code, StatusCode::OK);
  });
  ExpectCulprit("rust-backend", "as told");
}

TEST_F(ZooTest, BringsAGoRuntime) {
  Keep({"go_backend"});
  Beside([&] {
    for (int i = 0; i < 20; ++i) {
      const auto answer = Create("go-backend", "v" + std::to_string(i));
      EXPECT_EQ(answer.code, StatusCode::OK) << answer.message;
      EXPECT_EQ(answer.id, "go-backend:go-v" + std::to_string(i));
    }
  });
}

}  // namespace
}  // namespace gantry::tests
