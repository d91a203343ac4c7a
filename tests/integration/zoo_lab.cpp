// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/zoo_lab.hpp"

#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <fstream>
#include <sstream>
#include <thread>

#include "host/base/file.hpp"

namespace gantry::tests {
namespace {

using std::chrono::milliseconds;
namespace fs = std::filesystem;

constexpr uint32_t kFirstUid = 61101;
constexpr size_t kCallsMeasured = 100;
// The noise of a busy machine with few cores: medians of calls that take less than a millisecond.
constexpr double kNoiseFactor = 5;
constexpr double kNoiseMs = 10;

fs::path BuildDirectory() {
  const char* build = std::getenv("GANTRY_BUILD_DIR");
  return build != nullptr ? build : "build/dev";
}

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

// A backend's name has no "_", a file of the zoo may.
std::string BackendName(std::string animal) {
  std::replace(animal.begin(), animal.end(), '_', '-');
  return animal;
}

}  // namespace

bool Eventually(const std::function<bool()>& holds, milliseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (!holds()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    poll(nullptr, 0, 5);
  }
  return true;
}

void ZooTest::Keep(const std::vector<std::string>& animals, const std::vector<std::string>& more) {
  fs::permissions(plugins_.path(), fs::perms(0755));
  std::vector<std::string> all = animals;
  all.emplace_back("good");
  lab::GantrydOptions options;
  options.plugin_directory = plugins_.path();
  options.is_pid_one = is_pid_one;
  uint32_t uid = kFirstUid;
  for (const auto& animal : all) {
    const auto file = BuildDirectory() / "tests/zoo" / (animal + ".so");
    ASSERT_TRUE(fs::exists(file)) << file << " was not built: the packages that the zoo needs are "
                                  << "named in scripts/lib/packages.sh";
    const bool is_healthy = animal == "good";
    if (animal == "segfaults_at_third_call") options.segfaults = lab::Segfaults::kIgnore;
    const std::string name = is_healthy ? "healthy" : BackendName(animal);
    fs::copy_file(file, plugins_.path() / (name + ".so"));
    options.backends += "  " + name + ":\n    plugin: " + name +
                        "\n    owner: zoo\n    uid: " + std::to_string(uid++) + "\n";
    if (!is_healthy)
      for (const auto& line : more) options.backends += "    " + line + "\n";
    options.driver_backends += (options.driver_backends.empty() ? "[" : ", ") + name;
  }
  options.driver_backends += "]";
  auto host = lab::Gantryd::Start(std::move(options));
  ASSERT_TRUE(host) << host.error().message;
  host_ = std::move(*host);
  channel_ = host_->Connect();
  controller_ = csi::v1::Controller::NewStub(channel_);
  healthy_channel_ = host_->Connect();
  healthy_ = csi::v1::Controller::NewStub(healthy_channel_);
  (void)HealthyMs();
  for (size_t i = 0; i < kCallsMeasured; ++i) alone_.push_back(HealthyMs());
}

void ZooTest::TearDown() {
  if (!host_) return;
  EXPECT_EQ(kill(host_->pid(), 0), 0) << "gantryd is gone:\n" << host_->Log();
  EXPECT_EQ(Create("healthy", "at-the-end").code, grpc::StatusCode::OK);
  // In order it would wait for some animals until their deadlines.
  (void)host_->Kill(SIGKILL);
}

Answer ZooTest::Create(const std::string& backend, const std::string& name, milliseconds within) {
  csi::v1::CreateVolumeRequest request;
  request.set_name(name);
  auto& capability = *request.add_volume_capabilities();
  capability.mutable_mount();
  capability.mutable_access_mode()->set_mode(
      csi::v1::VolumeCapability::AccessMode::SINGLE_NODE_WRITER);
  (*request.mutable_parameters())["backend"] = backend;
  csi::v1::CreateVolumeResponse response;
  auto& stub = backend == "healthy" ? *healthy_ : *controller_;
  const auto status = stub.CreateVolume(lab::Within(within).get(), request, &response);
  return {status.error_code(), status.error_message(), response.volume().volume_id()};
}

Answer ZooTest::Delete(const std::string& id, milliseconds within) {
  csi::v1::DeleteVolumeRequest request;
  request.set_volume_id(id);
  csi::v1::DeleteVolumeResponse response;
  const auto status = controller_->DeleteVolume(lab::Within(within).get(), request, &response);
  return {status.error_code(), status.error_message(), id};
}

Answer ZooTest::Stage(const std::string& id, const std::string& wish) {
  csi::v1::NodeStageVolumeRequest request;
  request.set_volume_id(id);
  const auto staging = host_->kubelet() / "plugins/zoo/globalmount";
  fs::create_directories(staging);
  request.set_staging_target_path(staging);
  request.mutable_volume_capability()->mutable_mount();
  request.mutable_volume_capability()->mutable_access_mode()->set_mode(
      csi::v1::VolumeCapability::AccessMode::SINGLE_NODE_WRITER);
  (*request.mutable_volume_context())["wish"] = wish;
  csi::v1::NodeStageVolumeResponse response;
  const auto status = csi::v1::Node::NewStub(channel_)->NodeStageVolume(
      lab::Within(kZooCallMax).get(), request, &response);
  return {status.error_code(), status.error_message(), id};
}

std::vector<std::string> ZooTest::MountsOfHost() const {
  std::ifstream file("/proc/self/mountinfo");
  std::vector<std::string> mounts;
  for (std::string line; std::getline(file, line);)
    if (line.find(host_->kubelet().string() + "/") != std::string::npos) mounts.push_back(line);
  return mounts;
}

double ZooTest::HealthyMs() {
  const auto begin = std::chrono::steady_clock::now();
  const auto answer = Create("healthy", "h-" + std::to_string(++healthy_calls_));
  EXPECT_EQ(answer.code, grpc::StatusCode::OK) << answer.message;
  const double ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  poll(nullptr, 0, 1);  // a client, not a load
  return ms;
}

void ZooTest::Beside(const std::function<void()>& act) {
  std::atomic<bool> over = false;
  std::vector<double> beside;
  std::thread client([&] {
    while (!over || beside.size() < kCallsMeasured) beside.push_back(HealthyMs());
  });
  act();
  over = true;
  client.join();
  const double alone_ms = Median(alone_);
  const double beside_ms = Median(beside);
  std::printf(
      "healthy backend: median %.2f ms alone, %.2f ms beside (%zu calls, longest %.1f ms)\n",
      alone_ms, beside_ms, beside.size(), *std::max_element(beside.begin(), beside.end()));
  EXPECT_LE(beside_ms, alone_ms * kNoiseFactor + kNoiseMs);
}

void ZooTest::ExpectCulprit(const std::string& backend, const std::string& words) {
  const auto is_named = [&] {
    std::istringstream log(host_->Log());
    for (std::string line; std::getline(log, line);)
      if (line.find("backend " + backend) != std::string::npos &&
          line.find(words) != std::string::npos)
        return true;
    return false;
  };
  EXPECT_TRUE(Eventually(is_named))
      << "the log does not say \"" << words << "\" of " << backend << ":\n"
      << host_->Log().substr(0, 20'000);
}

}  // namespace gantry::tests
