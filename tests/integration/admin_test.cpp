// SPDX-License-Identifier: Apache-2.0
// What an operator has of a real gantryd: gantryctl, the metrics, the probes, the log.
#include <arpa/inet.h>
#include <csi/v1/csi.grpc.pb.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <thread>

#include "host/base/fd.hpp"
#include "host/base/file.hpp"
#include "tests/lab/gantryd.hpp"
#include "tests/lab/sanitizer_report.hpp"

namespace gantry::tests {
namespace {

using nlohmann::json;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using namespace std::chrono_literals;

constexpr uid_t kWorkerUid = 61001;
constexpr size_t kOutputBytesMax = 16U << 20;
constexpr std::chrono::seconds kToolMax{30};

std::filesystem::path BuildDirectory() {
  const char* build = std::getenv("GANTRY_BUILD_DIR");
  return std::filesystem::absolute(build != nullptr ? build : "build/dev");
}

struct Outcome {
  int code = -1;
  std::string out;
  std::string err;
};

class AdminTest : public ::testing::Test {
 protected:
  void Start(const std::string& plugin = "good", const std::string& more = "") {
    lab::GantrydOptions options;
    options.plugin_directory = BuildDirectory() / "tests/zoo";
    options.driver_backends = "[one, two]";
    options.backends = "  one: {plugin: " + plugin + ", owner: test, uid: 61001}\n" +
                       "  two: {plugin: good, owner: test, uid: 61002}\n";
    options.top = "metrics: {address: \"127.0.0.1:0\"}\n" + more;
    auto started = lab::Gantryd::Start(std::move(options));
    ASSERT_TRUE(started) << started.error().message;
    gantryd = std::move(*started);
    // The CSI socket is there a moment earlier.
    ASSERT_TRUE(Soon([&] { return Ctl({"status"}).code == 0; }));
    csi = csi::v1::Controller::NewStub(gantryd->Connect());
  }
  std::string socket() const { return gantryd->directory() / "state/admin.sock"; }

  template <class Check>
  static bool Soon(Check&& check) {
    const auto end = std::chrono::steady_clock::now() + 20s;
    while (!check()) {
      if (std::chrono::steady_clock::now() > end) return false;
      poll(nullptr, 0, 20);
    }
    return true;
  }

  Outcome Ctl(std::vector<std::string> arguments) {
    if (gantryd) arguments.insert(arguments.begin(), {"--socket", socket()});
    arguments.insert(arguments.begin(), "gantryctl");
    const base::TempDir directory;
    const auto open_new = [&](const char* name) {
      return base::UniqueFd(
          open((directory.path() / name).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    };
    const auto out = open_new("out");
    const auto err = open_new("err");
    const auto binary = base::PinnedBinary::Open(BuildDirectory() / "bin/gantryctl");
    if (!binary) return {-1, "", binary.error().message};
    base::SpawnOptions options;
    options.arguments = arguments;
    options.environment = lab::SanitizerEnvironment();
    options.environment.emplace_back("PATH=/usr/sbin:/usr/bin:/sbin:/bin");
    options.stdout_fd = out.get();
    options.stderr_fd = err.get();
    auto child = base::Spawn(*binary, options);
    if (!child) return {-1, "", child.error().message};
    const auto status = child->Wait(kToolMax);
    Outcome outcome;
    if (status && *status) outcome.code = (*status)->code;
    outcome.out = base::ReadFile(directory.path() / "out", kOutputBytesMax).value_or("");
    outcome.err = base::ReadFile(directory.path() / "err", kOutputBytesMax).value_or("");
    return outcome;
  }
  json CtlJson(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "--json");
    const auto outcome = Ctl(std::move(arguments));
    return json::parse(outcome.out, nullptr, false);
  }

  std::string Get(const std::string& path) {
    const std::string address = CtlJson({"status"})["metrics_address"];
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
    const base::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval timeout{10, 0};
    setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof(to)) != 0) return "";
    const std::string request = "GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n";
    (void)send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL);
    std::string answer;
    char buffer[4096];
    for (ssize_t n = 0; (n = recv(fd.get(), buffer, sizeof(buffer), 0)) > 0;)
      answer.append(buffer, static_cast<size_t>(n));
    return answer;
  }
  // The value of the series with all of these labels; -1 where there is none.
  double Metric(const std::string& name, const std::vector<std::string>& labels = {}) {
    std::istringstream lines(Get("/metrics"));
    for (std::string line; std::getline(lines, line);) {
      if (!line.starts_with(name + "{") && !line.starts_with(name + " ")) continue;
      bool has_all = true;
      for (const auto& label : labels) has_all = has_all && line.find(label) != std::string::npos;
      if (has_all) return std::stod(line.substr(line.rfind(' ') + 1));
    }
    return -1;
  }

  grpc::Status Create(const std::string& name, const std::string& backend,
                      std::chrono::milliseconds timeout = 20s) {
    csi::v1::CreateVolumeRequest request;
    request.set_name(name);
    auto& capability = *request.add_volume_capabilities();
    capability.mutable_mount();
    capability.mutable_access_mode()->set_mode(
        csi::v1::VolumeCapability::AccessMode::SINGLE_NODE_WRITER);
    (*request.mutable_parameters())["backend"] = backend;
    (*request.mutable_secrets())["password"] = "hunter2hunter2";
    csi::v1::CreateVolumeResponse response;
    const auto context = lab::Within(timeout);
    return csi->CreateVolume(context.get(), request, &response);
  }

  std::unique_ptr<lab::Gantryd> gantryd;
  std::unique_ptr<csi::v1::Controller::Stub> csi;
};

TEST_F(AdminTest, ShowsStatusToPeopleAndToPrograms) {
  Start();
  const auto table = Ctl({"status", "one"});
  EXPECT_EQ(table.code, 0) << table.err;
  EXPECT_THAT(table.out, HasSubstr("BACKEND  DRIVER"));
  EXPECT_THAT(table.out, HasSubstr("serving"));
  EXPECT_THAT(table.out, HasSubstr("gantry.controller/1:create_volume"));
  const auto status = CtlJson({"status"});
  ASSERT_TRUE(status.is_object());
  EXPECT_TRUE(status["ready"]);
  EXPECT_EQ(status["pid"], gantryd->pid());
  ASSERT_EQ(status["backends"].size(), 2u);
  const auto& worker = status["backends"][0]["generations"][0];
  EXPECT_EQ(worker["pid"], gantryd->WorkerPids("one").at(0));
  EXPECT_EQ(worker["release"]["sha256"].get<std::string>().size(), 64u);
  EXPECT_GT(std::stoull(worker["use"]["resident_bytes"].get<std::string>()), 1U << 20);
  EXPECT_EQ(Ctl({"status", "--check"}).code, 0);
  for (const auto& command : std::vector<std::vector<std::string>>{{"backends"},
                                                                   {"volumes", "--controller"},
                                                                   {"tasks"},
                                                                   {"orphans"},
                                                                   {"explain", "one:v"},
                                                                   {"logs"},
                                                                   {"config", "check"},
                                                                   {"top", "--count", "1"}}) {
    const auto outcome = Ctl(command);
    EXPECT_EQ(outcome.code, 0) << command[0] << ": " << outcome.err;
    EXPECT_THAT(outcome.out, Not(IsEmpty())) << command[0];
  }
}

TEST_F(AdminTest, HasAnExitCodeForEachKindOfFailure) {
  EXPECT_EQ(Ctl({"--socket", "/nowhere/admin.sock", "status"}).code, 3);
  EXPECT_EQ(Ctl({"frobnicate"}).code, 2);
  EXPECT_EQ(Ctl({}).code, 2);
  EXPECT_EQ(Ctl({"--help"}).code, 0);
  Start();
  const auto unknown = Ctl({"drain", "three"});
  EXPECT_EQ(unknown.code, 1);
  EXPECT_THAT(unknown.err, HasSubstr("backend: \"three\": expected one of one, two"));
  const auto bad = gantryd->directory() / "bad.yaml";
  ASSERT_TRUE(base::WriteFileDurably(bad, "state_directory: relative\n", 0600));
  const auto refused = Ctl({"config", "check", bad});
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.err, HasSubstr("bad.yaml:1: state_directory"));
  // Nobody answers on a stopped gantryd, and gantryctl does not wait for it.
  kill(gantryd->pid(), SIGSTOP);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(Ctl({"--timeout", "1", "status"}).code, 3);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
  kill(gantryd->pid(), SIGCONT);
}

// Connects under an effective uid, as the kernel then tells the server; what the server says first.
std::string Greeting(const std::string& path, uid_t uid) {
  std::string said;
  std::thread([&] {
    // The thread's alone, unlike seteuid(3).
    if (syscall(SYS_setresuid, -1, uid, -1) != 0) return;
    const base::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::copy(path.begin(), path.end(), address.sun_path);
    if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
      said = std::strerror(errno);
      return;
    }
    const timeval timeout{10, 0};
    setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    char buffer[64];
    said = recv(fd.get(), buffer, sizeof(buffer), 0) > 0 ? "welcome" : "nothing";
  }).join();
  return said;
}

TEST_F(AdminTest, TalksToNoWorkerAndNoStranger) {
  Start();
  ASSERT_EQ(geteuid(), 0u) << "needs root";
  EXPECT_EQ(Greeting(socket(), 0), "welcome");
  EXPECT_EQ(Greeting(socket(), kWorkerUid), "Permission denied");
  // Even where the mode lets them in, the kernel's word on who they are does not.
  ASSERT_EQ(chmod(socket().c_str(), 0666), 0);
  EXPECT_EQ(Greeting(socket(), kWorkerUid), "nothing");
  EXPECT_EQ(Greeting(socket(), 61002), "nothing");
  EXPECT_EQ(Greeting(socket(), 12345), "nothing");
  EXPECT_EQ(Greeting(socket(), 0), "welcome");
  EXPECT_TRUE(Soon([&] {
    return gantryd->Log().find("uid 61001: a backend's worker") != std::string::npos &&
           gantryd->Log().find("uid 12345: expected root") != std::string::npos;
  }));
}

TEST_F(AdminTest, CountsCallsByMethodBackendAndCode) {
  Start();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Create("pvc-" + std::to_string(i), "one").ok());
  EXPECT_EQ(Create("pvc", "three").error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const std::string create = "method=\"CreateVolume\"";
  EXPECT_EQ(Metric("gantry_csi_calls_total", {create, "backend=\"one\"", "code=\"OK\""}), 3);
  EXPECT_EQ(Metric("gantry_csi_calls_total", {create, "backend=\"\"", "code=\"INVALID_ARGUMENT\""}),
            1);
  EXPECT_EQ(Metric("gantry_csi_call_seconds_count", {create, "backend=\"one\""}), 3);
  EXPECT_EQ(Metric("gantry_csi_calls_in_flight", {create}), 0);
  EXPECT_EQ(Metric("gantry_backend_serving", {"backend=\"one\""}), 1);
  EXPECT_GT(Metric("gantry_worker_resident_bytes", {"backend=\"two\""}), 1 << 20);
  EXPECT_GT(Metric("process_resident_memory_bytes"), 1 << 20);
  EXPECT_THAT(Get("/metrics"), Not(HasSubstr("pvc-")));
  EXPECT_THAT(Get("/else"), StartsWith("HTTP/1.1 404"));
}

TEST_F(AdminTest, IsHealthyAndReadyWhileABackendIsDead) {
  Start();
  EXPECT_THAT(Get("/readyz"), StartsWith("HTTP/1.1 200"));
  // Without its plugin a worker cannot come back.
  const std::string digest =
      CtlJson({"status", "one"})["backends"][0]["generations"][0]["release"]["sha256"];
  const auto stored = gantryd->directory() / "state/store" / (digest + ".so");
  ASSERT_TRUE(std::filesystem::remove(stored));
  const auto workers = gantryd->WorkerPids("one");
  ASSERT_EQ(workers.size(), 1u);
  kill(workers[0], SIGKILL);
  ASSERT_TRUE(Soon([&] { return Metric("gantry_backend_serving", {"backend=\"one\""}) == 0; }));
  EXPECT_EQ(Metric("gantry_backend_deaths_by_end_total", {"backend=\"one\"", "end=\"SIGKILL\""}),
            1);
  EXPECT_EQ(Metric("gantry_backend_serving", {"backend=\"two\""}), 1);
  const auto health = Get("/healthz");
  EXPECT_THAT(health, StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(health, HasSubstr("backend two: serving\n"));
  EXPECT_THAT(health, Not(HasSubstr("backend one: serving\n")));
  EXPECT_THAT(Get("/readyz"), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(Ctl({"status"}).code, 0);
  EXPECT_EQ(Ctl({"status", "--check"}).code, 5);
  EXPECT_TRUE(Create("pvc", "two").ok());
}

TEST_F(AdminTest, LetsOneGrepFindACallInHostAndPlugin) {
  Start("hangs");
  EXPECT_EQ(Create("pvc-slow", "one", 300ms).error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  ASSERT_TRUE(Soon([&] {
    return gantryd->Log().find("] CreateVolume DEADLINE_EXCEEDED in ") != std::string::npos;
  }));
  const std::string log = gantryd->Log();
  EXPECT_THAT(log, Not(HasSubstr("hunter2")));
  const size_t line = log.rfind('\n', log.find("] CreateVolume DEADLINE_EXCEEDED in ")) + 1;
  const size_t begin = log.find('[', line) + 1;
  const std::string id = log.substr(begin, log.find(']', begin) - begin);
  EXPECT_THAT(log, HasSubstr(" info [" + id + "] backend one generation 1: hanging\n"));
  const auto of_call = Ctl({"logs", "--call", id});
  EXPECT_THAT(of_call.out, HasSubstr("hanging"));
  EXPECT_THAT(of_call.out, HasSubstr("CreateVolume DEADLINE_EXCEEDED"));
  EXPECT_THAT(of_call.out, Not(HasSubstr("serves")));
  EXPECT_THAT(Ctl({"logs", "--backend", "two"}).out, Not(HasSubstr("hanging")));
}

TEST_F(AdminTest, WritesItsLogAsJson) {
  Start("good", "log: {format: json}\n");
  ASSERT_TRUE(Create("pvc-json", "one").ok());
  ASSERT_TRUE(Soon(
      [&] { return gantryd->Log().find("\"method\":\"CreateVolume\"") != std::string::npos; }));
  std::istringstream lines(gantryd->Log());
  bool has_call = false;
  for (std::string line; std::getline(lines, line);) {
    const auto object = json::parse(line, nullptr, false);
    ASSERT_TRUE(object.is_object()) << line;
    EXPECT_TRUE(object.contains("time") && object.contains("level") && object.contains("message"));
    if (object.value("method", "") != "CreateVolume") continue;
    has_call = true;
    EXPECT_EQ(object["code"], "OK");
    EXPECT_EQ(object["backend"], "one");
    EXPECT_EQ(object["level"], "debug");
    EXPECT_GT(object["duration_us"], 0);
    EXPECT_THAT(object["call"].get<std::string>(), HasSubstr("-"));
  }
  EXPECT_TRUE(has_call);
}

TEST_F(AdminTest, FollowsTheLog) {
  Start();
  std::thread caller([&] { EXPECT_FALSE(Create("pvc-followed", "three").ok()); });
  const auto followed = Ctl({"logs", "--follow", "--for", "2"});
  caller.join();
  EXPECT_EQ(followed.code, 0) << followed.err;
  EXPECT_THAT(followed.out, HasSubstr("pvc-followed"));
}

TEST_F(AdminTest, SwapsDrainsAndResumesABackend) {
  Start();
  const auto generation = [&] {
    return CtlJson({"status", "one"})["backends"][0]["generations"][0]["number"].get<std::string>();
  };
  const std::string before = generation();
  const auto dry = Ctl({"swap", "one", "--dry-run"});
  EXPECT_EQ(dry.code, 0) << dry.err;
  EXPECT_EQ(generation(), before);
  const auto swapped = Ctl({"swap", "one"});
  EXPECT_EQ(swapped.code, 0) << swapped.out << swapped.err;
  EXPECT_THAT(swapped.out, HasSubstr("done: zoo 1.2.3"));
  EXPECT_NE(generation(), before);
  EXPECT_TRUE(Create("pvc-swapped", "one").ok());
  EXPECT_GT(Metric("gantry_swap_steps_total", {"backend=\"one\""}), 0);
  // Another plugin under the same name is refused, with what is wrong with it, and nothing changes.
  const std::string serving = generation();
  const auto refused =
      Ctl({"swap", "one", "--plugin", BuildDirectory() / "tests/zoo/bad_magic.so"});
  EXPECT_EQ(refused.code, 1) << refused.out << refused.err;
  EXPECT_THAT(refused.err, HasSubstr("magic"));
  EXPECT_EQ(generation(), serving);
  EXPECT_EQ(Ctl({"drain", "one"}).code, 0);
  EXPECT_EQ(Create("pvc-drained", "one", 2s).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Ctl({"status", "--check"}).code, 5);
  EXPECT_EQ(Ctl({"resume", "one"}).code, 0);
  EXPECT_TRUE(Create("pvc-resumed", "one").ok());
}

TEST_F(AdminTest, ReloadsTheConfigurationByASwap) {
  Start();
  const auto file = gantryd->directory() / "gantry.yaml";
  const std::string text = base::ReadFile(file, kOutputBytesMax).value();
  std::string changed = text;
  const std::string uid = "uid: 61001";
  changed.replace(changed.find(uid), uid.size(), uid + ", config: {x: 1}");
  ASSERT_TRUE(base::WriteFileDurably(file, changed, 0600));
  const auto plan = CtlJson({"config", "check"});
  ASSERT_EQ(plan["changes"].size(), 1u) << plan.dump();
  EXPECT_EQ(plan["changes"][0]["key"], "backends.one.config");
  const auto reloaded = Ctl({"config", "reload"});
  EXPECT_EQ(reloaded.code, 0) << reloaded.out << reloaded.err;
  EXPECT_EQ(CtlJson({"config", "check"})["changes"].size(), 0u);
  std::string beyond = changed;
  beyond.replace(beyond.find("uid: 61002"), uid.size(), "uid: 61003");
  ASSERT_TRUE(base::WriteFileDurably(file, beyond, 0600));
  const auto refused = Ctl({"config", "reload"});
  EXPECT_EQ(refused.code, 1);
  EXPECT_THAT(refused.err, HasSubstr("backends.two.uid"));
}

class InspectTest : public AdminTest {
 protected:
  static std::string Zoo(const std::string& name) {
    return BuildDirectory() / "tests/zoo" / (name + ".so");
  }
};

TEST_F(InspectTest, DescribesAPluginWithoutGantryd) {
  const auto report = CtlJson({"plugin", "inspect", Zoo("good")});
  ASSERT_TRUE(report.is_object());
  EXPECT_TRUE(report["loads"]);
  EXPECT_EQ(report["name"], "zoo");
  EXPECT_EQ(report["version"], "1.2.3");
  EXPECT_THAT(report["abi"].get<std::string>(), StartsWith("0."));
  EXPECT_EQ(report["thread_model"], "parallel");
  EXPECT_THAT(report["capabilities"].dump(), HasSubstr("gantry.controller/1:create_volume"));
  const auto shown = Ctl({"plugin", "inspect", Zoo("good")});
  EXPECT_EQ(shown.code, 0) << shown.err;
  EXPECT_THAT(shown.out, HasSubstr("zoo 1.2.3"));
}

TEST_F(InspectTest, SaysWhyAPluginDoesNotLoad) {
  const auto magic = Ctl({"plugin", "inspect", Zoo("bad_magic")});
  EXPECT_EQ(magic.code, 1);
  EXPECT_THAT(magic.out, HasSubstr("magic"));
  const auto text = std::filesystem::temp_directory_path() / "gantry-inspect-no-object.so";
  ASSERT_TRUE(base::WriteFileDurably(text, "no object\n", 0644));
  const auto no_object = Ctl({"plugin", "inspect", text});
  EXPECT_EQ(no_object.code, 1);
  EXPECT_THAT(no_object.out, HasSubstr("does not load"));
  std::filesystem::remove(text);
  EXPECT_EQ(Ctl({"plugin", "inspect", "/nowhere.so"}).code, 2);
}

TEST_F(InspectTest, KnowsTheManifestOfAPluginThatDiesInCreate) {
  const auto report = CtlJson({"plugin", "inspect", Zoo("throws_in_create")});
  ASSERT_TRUE(report.is_object());
  EXPECT_TRUE(report["loads"]);
  EXPECT_EQ(report["name"], "zoo");
  EXPECT_THAT(report["capabilities_error"].get<std::string>(), HasSubstr("SIGABRT"));
}

TEST_F(InspectTest, OutlivesAHostileObject) {
  const auto hostile = BuildDirectory() / "tests/hostile";
  const auto crash = Ctl({"plugin", "inspect", hostile / "crashes.so"});
  EXPECT_EQ(crash.code, 1) << crash.out << crash.err;
  EXPECT_THAT(crash.out, HasSubstr("does not load"));
  EXPECT_THAT(crash.out, Not(HasSubstr("\x1b")));
  const auto begin = std::chrono::steady_clock::now();
  const auto hang = Ctl({"--timeout", "2", "plugin", "inspect", hostile / "hangs.so"});
  EXPECT_EQ(hang.code, 1);
  EXPECT_THAT(hang.out, HasSubstr("it does not answer: killed"));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
}

}  // namespace
}  // namespace gantry::tests
