// SPDX-License-Identifier: Apache-2.0
// The backend through its C table, against real servers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "plugins/nfs/testing/in_process.hpp"
#include "tests/lab/ganesha.hpp"

namespace gantry::nfs {
namespace {

using namespace std::chrono_literals;
using testing::Backend;
using testing::CreateOptions;
using ::testing::ElementsAre;
using testing::HandleOf;
using testing::HandlesOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Outcome;
using testing::Parameters;
namespace fs = std::filesystem;

lab::Ganesha Started(lab::GaneshaOptions options = {}) {
  auto server = lab::Ganesha::Start(std::move(options));
  if (!server) throw std::runtime_error(server.error().message);
  return std::move(*server);
}

std::string ShareJson(const lab::Ganesha& server, const std::string& name) {
  return R"({"server": "127.0.0.1", "share": "/)" + name + R"(", "port": )" +
         std::to_string(server.port()) + R"(, "mountPort": )" +
         std::to_string(server.mount_port()) + "}";
}

std::string ConfigOf(const lab::Ganesha& server, const std::string& more = "") {
  return R"({"timeoutSeconds": 2, "shares": [)" + ShareJson(server, "vol") + "]" + more + "}";
}

// What people see of a share: everything but .gantry.
std::vector<std::string> Visible(const fs::path& root) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(root)) {
    if (entry.path().filename() != ".gantry") names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> Hidden(const fs::path& root) {
  std::vector<std::string> paths;
  for (const auto& entry : fs::recursive_directory_iterator(root / ".gantry")) {
    paths.push_back(fs::relative(entry.path(), root / ".gantry"));
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

void Write(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }
std::string Read(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

#define ASSERT_OK(outcome)                                              \
  if (const Outcome checked_outcome = (outcome); !checked_outcome.ok()) \
  FAIL() << "code " << checked_outcome.code << ": " << checked_outcome.message

TEST(NfsBackend, KeepsUncommittedWritesWhereTheyAreAskedForAndOneNodeWrites) {
  const auto server = Started();
  Backend backend(ConfigOf(server));
  ASSERT_OK(backend.created);
  const auto context = [&](const Parameters& parameters) {
    static int number = 0;
    const Outcome created =
        backend.Create("pvc-" + std::to_string(++number), {.parameters = parameters});
    EXPECT_EQ(created.code, GANTRY_OK) << created.message;
    return created.volumes.at(0).context;
  };
  const auto kept = [&](const Parameters& parameters, gantry_access_mode mode) {
    const Outcome attached = backend.Attach(context(parameters), mode);
    EXPECT_EQ(attached.code, GANTRY_OK) << attached.message;
    const auto& source = attached.userspace_sources.at(0);
    const auto found = source.find("commitsAtClose");
    return found == source.end() ? "" : found->second;
  };
  const Parameters asked = {{"uncommittedWrites", "true"}};
  EXPECT_EQ(kept(asked, GANTRY_SINGLE_NODE_WRITER), "true");
  EXPECT_EQ(kept(asked, GANTRY_SINGLE_NODE_MULTI_WRITER), "true");
  EXPECT_EQ(kept(asked, GANTRY_MULTI_NODE_SINGLE_WRITER), "");
  EXPECT_EQ(kept(asked, GANTRY_MULTI_NODE_MULTI_WRITER), "");
  EXPECT_EQ(kept({{"uncommittedWrites", "false"}}, GANTRY_SINGLE_NODE_WRITER), "");
  EXPECT_EQ(kept({}, GANTRY_SINGLE_NODE_WRITER), "");
  auto bad = context({});
  bad["uncommittedWrites"] = "yes";
  const Outcome refused = backend.Attach(bad);
  EXPECT_EQ(refused.code, GANTRY_INVALID_ARGUMENT);
  EXPECT_THAT(refused.message, HasSubstr("\"yes\"; expected true or false"));
}

TEST(NfsBackend, LivesAVolumesWholeLife) {
  const auto server = Started();
  Backend backend(ConfigOf(server));
  ASSERT_OK(backend.created);

  const Outcome created = backend.Create(
      "pvc-1", {.required_bytes = 5000,
                .parameters = {{"subDir", "${pvc.metadata.namespace}/${pvc.metadata.name}"},
                               {"mountPermissions", "2750"},
                               {"uid", "1234"},
                               {"gid", "4321"},
                               {"mountOptions", "hard,noatime"}},
                .hints = {{"pvc/name", "data"}, {"pvc/namespace", "team"}}});
  ASSERT_OK(created);
  const std::string handle = HandleOf(created);
  EXPECT_EQ(created.volumes[0].capacity_bytes, 5000u);
  EXPECT_EQ(created.volumes[0].context.at("subDir"), "team/data");
  EXPECT_EQ(created.volumes[0].context.at("mountOptions"), "hard,noatime");
  EXPECT_EQ(backend.Domain(handle), "127.0.0.1:" + std::to_string(server.port()));
  const fs::path directory = server.root() / "team" / "data";
  struct stat status {};
  ASSERT_EQ(stat(directory.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 02750u);
  EXPECT_EQ(status.st_uid, 1234u);
  EXPECT_EQ(status.st_gid, 4321u);
  ASSERT_EQ(stat((server.root() / ".gantry").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700u);

  const Outcome got = backend.Get(handle);
  ASSERT_OK(got);
  EXPECT_EQ(got.volumes[0].condition, GANTRY_CONDITION_NORMAL);
  ASSERT_OK(backend.Expand(handle, 9000));
  EXPECT_EQ(backend.Get(handle).volumes[0].capacity_bytes, 9000u);
  EXPECT_EQ(backend.Expand(handle, 1, 8999).code, GANTRY_OUT_OF_RANGE);
  EXPECT_EQ(HandlesOf(backend.List()), std::vector{handle});
  EXPECT_GT(backend.Capacity().capacities.at(0), 0u);

  const Outcome attached = backend.Attach(created.volumes[0].context);
  ASSERT_OK(attached);
  ASSERT_EQ(attached.userspace_sources.size(), 1u);
  EXPECT_EQ(attached.userspace_sources[0].at("path"), "team/data");
  EXPECT_EQ(attached.userspace_sources[0].at("port"), std::to_string(server.port()));

  Write(directory / "file", "content");
  fs::create_directories(directory / "a/b/c");
  fs::create_symlink("/etc/passwd", directory / "a/link");
  const Outcome deleted = backend.Delete(handle);
  ASSERT_OK(deleted);
  EXPECT_FALSE(fs::exists(directory));
  EXPECT_EQ(backend.Get(handle).code, GANTRY_NOT_FOUND);
  EXPECT_THAT(backend.List().volumes, IsEmpty());
  ASSERT_OK(backend.Delete(handle));
  ASSERT_EQ(deleted.tasks.size(), 1u);
  ASSERT_OK(backend.Run(deleted.tasks[0]));
  EXPECT_EQ(backend.Run(deleted.tasks[0]).code, GANTRY_NOT_FOUND);
  EXPECT_THAT(Visible(server.root()), ElementsAre("team"));
  EXPECT_THAT(Hidden(server.root()), ElementsAre("attempts", "claims", "trash", "volumes"));
  EXPECT_TRUE(fs::exists("/etc/passwd"));
}

TEST(NfsBackend, GivesTheSameVolumeToTheSameNameAndSaysWhatDiffers) {
  const auto server = Started();
  Backend backend(ConfigOf(server));
  const CreateOptions options{.required_bytes = 1000,
                              .parameters = {{"subDir", "${pv.metadata.name}"}},
                              .hints = {{"pv/name", "first"}}};
  const Outcome first = backend.Create("pvc", options);
  ASSERT_OK(first);
  CreateOptions again = options;
  again.hints = {{"pv/name", "second"}};
  const Outcome second = backend.Create("pvc", again);
  ASSERT_OK(second);
  EXPECT_EQ(second.volumes[0].context.at("subDir"), "first");
  again.hints = {};
  ASSERT_OK(backend.Create("pvc", again));
  again.required_bytes = 1001;
  EXPECT_EQ(backend.Create("pvc", again).code, GANTRY_ALREADY_EXISTS);
  again.required_bytes = 1000;
  again.parameters["onDelete"] = "retain";
  const Outcome other = backend.Create("pvc", again);
  EXPECT_EQ(other.code, GANTRY_ALREADY_EXISTS);
  EXPECT_THAT(other.message, HasSubstr("onDelete"));
  EXPECT_THAT(Visible(server.root()), ElementsAre("first"));
}

TEST(NfsBackend, TakesNamesOfAnyUnicode) {
  const auto server = Started();
  Backend backend(ConfigOf(server));
  const std::vector<std::string> names = {"\xf0\x9f\x98\x80/../x",
                                          std::string(128, 'n'),
                                          "\xd0\xb8\xd0\xbc\xd1\x8f",
                                          "..",
                                          ".gantry",
                                          "a b"};
  for (const auto& name : names) {
    const Outcome created = backend.Create(name);
    ASSERT_OK(created);
    EXPECT_LE(HandleOf(created).size(), 80u);
    EXPECT_EQ(HandleOf(backend.Create(name)), HandleOf(created));
  }
  EXPECT_EQ(backend.List().volumes.size(), names.size());
  for (const auto& handle : HandlesOf(backend.List())) ASSERT_OK(backend.Delete(handle));
  EXPECT_THAT(Visible(server.root()), IsEmpty());
}

TEST(NfsBackend, RefusesHostileDirectories) {
  const auto server = Started();
  const base::TempDir outside;
  Write(outside.path() / "keep", "precious");
  fs::create_directory_symlink(outside.path(), server.root() / "link");
  fs::create_directory_symlink("..", server.root() / "up");
  Write(server.root() / "file", "text");
  Backend backend(ConfigOf(server));
  for (const char* sub_dir : {"..",
                              "../x",
                              "a/../../x",
                              "/etc",
                              "a//b",
                              "a/",
                              ".",
                              ".gantry",
                              ".gantry/volumes",
                              "a/.gantry-x",
                              "=claim",
                              "link",
                              "link/x",
                              "up",
                              "up/x",
                              "file",
                              "file/x",
                              "a\nb",
                              "${pvc.metadata.name}",
                              "${x}",
                              "${pv.metadata.name}"}) {
    const Outcome refused = backend.Create(
        "pvc", {.parameters = {{"subDir", sub_dir}}, .hints = {{"pv/name", "../../etc"}}});
    EXPECT_EQ(refused.code, GANTRY_INVALID_ARGUMENT) << sub_dir << ": " << refused.message;
    EXPECT_THAT(refused.message, HasSubstr("subDir")) << sub_dir;
  }
  EXPECT_THAT(Visible(server.root()), ElementsAre("file", "link", "up"));
  EXPECT_EQ(Read(outside.path() / "keep"), "precious");
  EXPECT_THAT(backend.List().volumes, IsEmpty());
  for (const auto& path : Hidden(server.root())) {
    EXPECT_FALSE(path.starts_with("volumes/") || path.starts_with("claims/")) << path;
  }
}

TEST(NfsBackend, RefusesADirectoryThatTouchesAnothersAndNeverDeletesWhatWasThere) {
  const auto server = Started();
  fs::create_directories(server.root() / "old");
  Write(server.root() / "old/keep", "precious");
  Backend backend(ConfigOf(server));
  const Outcome first = backend.Create("first", {.parameters = {{"subDir", "a/b"}}});
  ASSERT_OK(first);
  for (const char* sub_dir : {"a", "a/b", "a/b/c"}) {
    const Outcome refused = backend.Create("second", {.parameters = {{"subDir", sub_dir}}});
    EXPECT_EQ(refused.code, GANTRY_FAILED_PRECONDITION) << sub_dir;
    EXPECT_THAT(refused.message, HasSubstr(HandleOf(first)));
  }
  const Outcome old = backend.Create("old-user", {.parameters = {{"subDir", "old"}}});
  ASSERT_OK(old);
  const Outcome deleted = backend.Delete(HandleOf(old));
  ASSERT_OK(deleted);
  EXPECT_THAT(deleted.logs, ElementsAre(HasSubstr("old")));
  ASSERT_OK(backend.Delete(HandleOf(first)));
  ASSERT_OK(backend.Run(deleted.tasks.at(0)));
  EXPECT_EQ(Read(server.root() / "old/keep"), "precious");
  EXPECT_THAT(Visible(server.root()), ElementsAre("a", "old"));
}

TEST(NfsBackend, RetainsAndArchives) {
  const auto server = Started();
  Backend backend(ConfigOf(server));
  const Outcome retained = backend.Create("keep-me", {.parameters = {{"onDelete", "retain"}}});
  const Outcome archived = backend.Create("store-me", {.parameters = {{"onDelete", "archive"}}});
  ASSERT_OK(retained);
  ASSERT_OK(archived);
  Write(server.root() / "store-me/file", "content");
  fs::create_directory(server.root() / "archived-store-me");
  ASSERT_OK(backend.Delete(HandleOf(retained)));
  ASSERT_OK(backend.Delete(HandleOf(archived)));
  ASSERT_OK(backend.Run(backend.ListTasks().tasks.at(0)));
  const auto names = Visible(server.root());
  ASSERT_EQ(names.size(), 3u);
  EXPECT_EQ(names[0], "archived-store-me");
  EXPECT_TRUE(fs::is_empty(server.root() / names[0]));
  EXPECT_THAT(names[1], HasSubstr("archived-store-me-"));
  EXPECT_EQ(Read(server.root() / names[1] / "file"), "content");
  EXPECT_EQ(names[2], "keep-me");
}

TEST(NfsBackend, MakesOneVolumeOfOneNameWhenControllersRace) {
  const auto server = Started();
  Backend one(ConfigOf(server));
  Backend two(ConfigOf(server));
  constexpr int kRaces = 20;
  constexpr size_t kRacers = 4;
  constexpr int kTriesMax = 5;  // A call itself gives way to the others many times.
  constexpr auto kTryTime = 20s;
  // All at once, each until it has an answer that is not "try again".
  const auto race = [&](int tries_max, const std::function<Outcome(Backend&)>& operation) {
    std::atomic<size_t> ready{0};
    std::vector<Outcome> outcomes(kRacers);
    std::vector<std::thread> threads;
    for (size_t i = 0; i < kRacers; ++i) {
      threads.emplace_back([&, i] {
        ++ready;
        while (ready < kRacers) std::this_thread::yield();
        for (int tries = 0; tries < tries_max; ++tries) {
          outcomes[i] = operation(i % 2 == 0 ? one : two);
          if (outcomes[i].code != GANTRY_ABORTED && outcomes[i].code != GANTRY_UNAVAILABLE) break;
        }
      });
    }
    for (auto& thread : threads) thread.join();
    return outcomes;
  };
  for (int i = 0; i < kRaces; ++i) {
    const std::string name = "race-" + std::to_string(i);
    const auto made =
        race(kTriesMax, [&](Backend& backend) { return backend.Create(name, {.time = kTryTime}); });
    for (const auto& outcome : made) {
      ASSERT_OK(outcome);
      EXPECT_EQ(HandleOf(outcome), HandleOf(made[0]));
    }
    EXPECT_THAT(Visible(server.root()), ElementsAre(name));
    EXPECT_EQ(one.List().volumes.size(), 1u);
    const std::string handle = HandleOf(made[0]);
    for (const auto& outcome :
         race(kTriesMax, [&](Backend& backend) { return backend.Delete(handle, kTryTime); })) {
      ASSERT_OK(outcome);
    }
    EXPECT_THAT(Visible(server.root()), IsEmpty());
  }
  const auto task = one.ListTasks().tasks.at(0);
  int emptied = 0;
  for (const auto& outcome : race(1, [&](Backend& backend) { return backend.Run(task); })) {
    emptied += outcome.ok() ? 1 : 0;
    // Nothing was left for it, or another one is at it.
    EXPECT_TRUE(outcome.ok() || outcome.code == GANTRY_NOT_FOUND || outcome.code == GANTRY_ABORTED)
        << outcome.message;
  }
  EXPECT_GT(emptied, 0);
  for (const auto& path : Hidden(server.root())) {
    // Attempts that lost are empty, and left to the task until they are old.
    EXPECT_TRUE(path.starts_with("attempts") || path.starts_with("trash") || path == "claims" ||
                path == "volumes")
        << path;
  }
}

TEST(NfsBackend, ListsInStablePagesWhileVolumesComeAndGo) {
  const auto server = Started();
  Backend backend(ConfigOf(server));
  std::vector<std::string> lasting;
  for (int i = 0; i < 20; ++i) {
    lasting.push_back(HandleOf(backend.Create("lasting-" + std::to_string(i))));
  }
  std::sort(lasting.begin(), lasting.end());
  std::atomic<bool> stop{false};
  std::thread churn([&] {
    Backend other(ConfigOf(server));
    for (int i = 0; !stop; ++i) {
      const Outcome created = other.Create("coming-" + std::to_string(i));
      EXPECT_TRUE(created.ok()) << created.message;
      const Outcome deleted = other.Delete(HandleOf(created));
      EXPECT_TRUE(deleted.ok()) << deleted.message;
    }
  });
  for (int pass = 0; pass < 10; ++pass) {
    std::vector<std::string> seen;
    std::string after;
    while (true) {
      const Outcome page = backend.List(after, 3);
      EXPECT_TRUE(page.ok()) << page.message;
      EXPECT_LE(page.volumes.size(), 3u);
      if (page.volumes.empty()) break;
      for (const auto& handle : HandlesOf(page)) {
        EXPECT_GT(handle, after);
        after = handle;
        seen.push_back(handle);
      }
    }
    EXPECT_TRUE(std::includes(seen.begin(), seen.end(), lasting.begin(), lasting.end()));
  }
  stop = true;
  churn.join();
}

TEST(NfsBackend, AnswersInBoundedTimeForADeadServerAndServesTheOthers) {
  auto dying = Started();
  const auto living = Started({.exports = {"live"}});
  Backend backend(R"({"timeoutSeconds": 1, "shares": [)" + ShareJson(dying, "vol") + "," +
                  ShareJson(living, "live") + "]}");
  const Parameters on_dying = {{"share", "/vol"}};
  const Parameters on_living = {{"share", "/live"}};
  const Outcome made = backend.Create("early", {.parameters = on_dying});
  ASSERT_OK(made);

  const auto expect_bounded = [&] {
    const auto begin = std::chrono::steady_clock::now();
    for (const Outcome& outcome :
         {backend.Create("late", {.parameters = on_dying}), backend.Delete(HandleOf(made)),
          backend.Get(HandleOf(made)), backend.List(), backend.Capacity(on_dying),
          backend.Run(backend.ListTasks().tasks.at(0)),
          backend.Run(backend.ListTasks().tasks.at(1))}) {
      EXPECT_EQ(outcome.finishes, 1);
      if (outcome.code != GANTRY_NOT_FOUND) {  // The living one's trash, which is empty.
        EXPECT_EQ(outcome.code, GANTRY_UNAVAILABLE) << outcome.message;
      }
    }
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 12s);
    EXPECT_TRUE(backend.Create("other", {.parameters = on_living}).ok());
  };
  ASSERT_TRUE(dying.Freeze());
  expect_bounded();
  ASSERT_TRUE(dying.Thaw());
  ASSERT_OK(backend.Create("late", {.parameters = on_dying}));
  ASSERT_TRUE(dying.Kill());
  expect_bounded();
  ASSERT_TRUE(dying.Restart());
  ASSERT_OK(backend.Get(HandleOf(made)));
  EXPECT_EQ(backend.List().volumes.size(), 3u);
  ASSERT_OK(backend.Delete(HandleOf(made)));
}

TEST(NfsBackend, EndsWithTheCallsDeadline) {
  auto server = Started();
  Backend backend(R"({"timeoutSeconds": 600, "shares": [)" + ShareJson(server, "vol") + "]}");
  ASSERT_OK(backend.Create("early"));
  ASSERT_TRUE(server.Freeze());
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(backend.Create("late", {.time = 500ms}).code, GANTRY_UNAVAILABLE);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 3s);
  ASSERT_TRUE(server.Thaw());
}

TEST(NfsBackend, WorksAsAnotherIdentityWhereRootIsSquashed) {
  const auto server = Started({.root_squash = true});
  ASSERT_EQ(chown(server.root().c_str(), 2000, 2000), 0);
  ASSERT_EQ(chmod(server.root().c_str(), 0750), 0);
  Backend squashed(ConfigOf(server));
  const Outcome refused = squashed.Create("pvc");
  EXPECT_EQ(refused.code, GANTRY_PERMISSION_DENIED) << refused.message;
  Backend backend(ConfigOf(server, R"(, "identity": {"uid": 2000, "gid": 2000})"));
  const Outcome created = backend.Create("pvc");
  ASSERT_OK(created);
  struct stat status {};
  ASSERT_EQ(stat((server.root() / "pvc").c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, 2000u);
  EXPECT_EQ(backend.Create("owned", {.parameters = {{"uid", "3000"}}}).code,
            GANTRY_PERMISSION_DENIED);
  ASSERT_OK(backend.Delete(HandleOf(created)));
  ASSERT_OK(backend.Run(backend.ListTasks().tasks.at(0)));
  EXPECT_THAT(Visible(server.root()), IsEmpty());
}

TEST(NfsBackend, UsesReservedPortsWhereTheServerInsists) {
  const auto server = Started({.privileged_port = true});
  const Outcome refused = Backend(ConfigOf(server)).Create("pvc");
  EXPECT_FALSE(refused.ok());
  EXPECT_THAT(refused.message, HasSubstr("port"));
  Backend backend(ConfigOf(server, R"(, "reservedPorts": true)"));
  ASSERT_OK(backend.Create("pvc"));
}

TEST(NfsBackend, SaysThatAServerSpeaksNoVersion3) {
  const auto server = Started({.v4_only = true});
  Backend backend(R"({"timeoutSeconds": 2, "shares": [{"server": "127.0.0.1", "share": "/vol",
                      "port": )" +
                  std::to_string(server.port()) + R"(, "mountPort": )" +
                  std::to_string(server.port()) + "}]}");
  const Outcome refused = backend.Create("pvc");
  EXPECT_FALSE(refused.ok());
  EXPECT_THAT(refused.message, HasSubstr("NFSv3"));
}

TEST(NfsBackend, CallsADirectoryThatIsGoneAnAbnormalCondition) {
  const auto server = Started();
  Backend backend(ConfigOf(server));
  const Outcome created = backend.Create("pvc");
  ASSERT_OK(created);
  fs::remove_all(server.root() / "pvc");
  const Outcome got = backend.Get(HandleOf(created));
  ASSERT_OK(got);
  EXPECT_EQ(got.volumes[0].condition, GANTRY_CONDITION_ABNORMAL);
  EXPECT_THAT(got.volumes[0].condition_message, HasSubstr("pvc"));
  ASSERT_OK(backend.Delete(HandleOf(created)));
}

}  // namespace
}  // namespace gantry::nfs
