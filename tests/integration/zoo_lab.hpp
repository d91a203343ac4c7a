// SPDX-License-Identifier: Apache-2.0
// A real gantryd with one animal of the zoo beside a healthy backend, and what every test of an
// animal wants to know at its end: the host is up, the healthy one answers as before.
#pragma once

#include <csi/v1/csi.grpc.pb.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "host/base/temp_dir.hpp"
#include "tests/lab/gantryd.hpp"

namespace gantry::tests {

constexpr std::chrono::milliseconds kZooCallMax{20'000};
constexpr std::chrono::milliseconds kZooSoonMax{30'000};

// Polls for what other processes do.
bool Eventually(const std::function<bool()>& holds, std::chrono::milliseconds time = kZooSoonMax);

struct Answer {
  grpc::StatusCode code = grpc::StatusCode::OK;
  std::string message;
  std::string id;  // of the volume
};

class ZooTest : public ::testing::Test {
 protected:
  // Starts gantryd with backends `animals` and one called "healthy". `more` is YAML of each
  // animal's backend, in braces' form: "stuck: {grace_ms: 100}", one entry a line.
  void Keep(const std::vector<std::string>& animals, const std::vector<std::string>& more = {});
  void TearDown() override;

  Answer Create(const std::string& backend, const std::string& name,
                std::chrono::milliseconds within = kZooCallMax);
  // Of a static volume whose attach emits what `wish` says ("type|source|option").
  Answer Stage(const std::string& id, const std::string& wish);
  // Lines of mountinfo below the kubelet directory.
  std::vector<std::string> MountsOfHost() const;
  Answer Delete(const std::string& id, std::chrono::milliseconds within = kZooCallMax);

  // Calls to the healthy backend while `act` runs, compared with calls while nothing goes on.
  void Beside(const std::function<void()>& act);
  // The log names the backend and says this of it.
  void ExpectCulprit(const std::string& backend, const std::string& words);

  bool is_pid_one = false;  // before Keep

  lab::Gantryd& host() { return *host_; }
  csi::v1::Controller::Stub& controller() { return *controller_; }

 private:
  double HealthyMs();  // of one call

  base::TempDir plugins_;
  std::unique_ptr<lab::Gantryd> host_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<csi::v1::Controller::Stub> controller_;
  std::shared_ptr<grpc::Channel> healthy_channel_;
  std::unique_ptr<csi::v1::Controller::Stub> healthy_;
  uint64_t healthy_calls_ = 0;
  std::vector<double> alone_;
};

}  // namespace gantry::tests
