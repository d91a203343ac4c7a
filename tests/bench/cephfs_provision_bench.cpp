// SPDX-License-Identifier: Apache-2.0
// CreateVolume and DeleteVolume of CephFS against the same sequence of commands to the manager, given
// bare by librados on the same cluster and in turns: by one client, for what a call costs, and by eight,
// for what a cluster can do, since its manager does one command at a time.
#include <rados/librados.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "host/base/file.hpp"
#include "host/base/temp_dir.hpp"
#include "tests/bench/rounds.hpp"
#include "tests/lab/ceph.hpp"
#include "tests/lab/gantryd.hpp"

namespace gantry::bench {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::json;

constexpr int kRounds = 7;
constexpr int kVolumesOfARound = 48;
constexpr int64_t kVolumeBytes = 64 << 20;
constexpr double kGoal = 0.90;
constexpr std::chrono::seconds kCallMax{60};
constexpr const char* kGroup = "bench";

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}

// A way to make volumes and to take them away again. Any thread.
class Side {
 public:
  virtual ~Side() = default;
  virtual std::string Create(const std::string& name) = 0;  // what Delete wants
  virtual void Delete(const std::string& made) = 0;
};

class Bare final : public Side {
 public:
  explicit Bare(const lab::Ceph& ceph) : filesystem_(ceph.filesystem()) {
    if (rados_create2(&cluster_, "ceph", "client.admin", 0) != 0) Die("rados_create2");
    for (const auto& [name, value] :
         {std::pair{"mon_host", "[v2:" + ceph.monitor() + "]"}, std::pair{"key", ceph.admin_key()},
          std::pair{"keyring", std::string("/dev/null")}})
      if (rados_conf_set(cluster_, name, value.c_str()) != 0) Die(name);
    if (rados_connect(cluster_) != 0) Die("rados_connect");
    Ask({{"prefix", "fs subvolumegroup create"}, {"group_name", kGroup}});
  }
  ~Bare() override { rados_shutdown(cluster_); }
  Bare(const Bare&) = delete;
  Bare& operator=(const Bare&) = delete;

  // Volumes::MakeEmpty, Volumes::Finish.
  std::string Create(const std::string& name) override {
    Ask({{"prefix", "fs subvolume create"},
         {"sub_name", name},
         {"group_name", kGroup},
         {"size", kVolumeBytes}});
    Ask({{"prefix", "fs subvolume info"}, {"sub_name", name}, {"group_name", kGroup}});
    return name;
  }
  // Volumes::RemoveSubvolume.
  void Delete(const std::string& name) override {
    Ask({{"prefix", "fs subvolume rm"}, {"sub_name", name}, {"group_name", kGroup}});
  }

 private:
  void Ask(json command) {
    command["vol_name"] = filesystem_;
    command["format"] = "json";
    const std::string text = command.dump();
    const char* words = text.c_str();
    char* out = nullptr;
    char* said = nullptr;
    size_t out_length = 0;
    size_t said_length = 0;
    const int number =
        rados_mgr_command(cluster_, &words, 1, "", 0, &out, &out_length, &said, &said_length);
    const std::string complaint(said == nullptr ? "" : said, said_length);
    rados_buffer_free(out);
    rados_buffer_free(said);
    if (number != 0) Die(text + ": " + std::to_string(number) + " " + complaint);
  }

  const std::string filesystem_;
  rados_t cluster_ = nullptr;
};

class Ours final : public Side {
 public:
  explicit Ours(const lab::Ceph& ceph) {
    const auto key = files_.path() / "key";
    if (!base::WriteFileDurably(key, ceph.admin_key(), 0600)) Die("write a file");
    lab::GantrydOptions options;
    options.backends =
        "  cephfs:\n    plugin: cephfs\n    owner: bench\n    uid: 61120\n"
        "    credentials: {key: " +
        key.string() + "}\n    config: {monitors: [\"" + ceph.monitor() +
        "\"], fsName: " + ceph.filesystem() + ", user: admin, group: " + kGroup +
        "}\n    grants: {userspace: true}\n";
    options.driver_backends = "[cephfs]";
    options.role = "controller";
    options.log_level = "info";
    auto host = lab::Gantryd::Start(options);
    if (!host) Die(host.error().message);
    host_ = std::move(*host);
    stub_ = csi::v1::Controller::NewStub(host_->Connect());
  }

  std::string Create(const std::string& name) override {
    csi::v1::CreateVolumeRequest request;
    request.set_name(name);
    request.mutable_capacity_range()->set_required_bytes(kVolumeBytes);
    auto* capability = request.add_volume_capabilities();
    capability->mutable_mount();
    capability->mutable_access_mode()->set_mode(
        csi::v1::VolumeCapability::AccessMode::MULTI_NODE_MULTI_WRITER);
    csi::v1::CreateVolumeResponse response;
    Need(stub_->CreateVolume(lab::Within(kCallMax).get(), request, &response));
    return response.volume().volume_id();
  }
  void Delete(const std::string& id) override {
    csi::v1::DeleteVolumeRequest request;
    request.set_volume_id(id);
    csi::v1::DeleteVolumeResponse response;
    Need(stub_->DeleteVolume(lab::Within(kCallMax).get(), request, &response));
  }

 private:
  static void Need(const grpc::Status& status) {
    if (!status.ok()) Die(status.error_message());
  }

  const base::TempDir files_;
  std::unique_ptr<lab::Gantryd> host_;
  std::unique_ptr<csi::v1::Controller::Stub> stub_;
};

// Times a second that `work` was done, by so many threads.
double PerSecond(int clients, const std::function<void(int)>& work) {
  std::atomic<int> next{0};
  const auto begin = Clock::now();
  std::vector<std::thread> threads;
  for (int i = 0; i < clients; ++i)
    threads.emplace_back([&] {
      for (int at = next++; at < kVolumesOfARound; at = next++) work(at);
    });
  for (auto& thread : threads) thread.join();
  return kVolumesOfARound / std::chrono::duration<double>(Clock::now() - begin).count();
}

struct Results {
  std::vector<double> creates;
  std::vector<double> deletes;
};

void Round(Side& side, int clients, const std::string& names, Results* results) {
  std::vector<std::string> made(kVolumesOfARound);
  results->creates.push_back(PerSecond(
      clients, [&](int at) { made[at] = side.Create(names + "-" + std::to_string(at)); }));
  results->deletes.push_back(PerSecond(clients, [&](int at) { side.Delete(made[at]); }));
}

int Main() {
  auto ceph = lab::Ceph::Start();
  if (!ceph) Die(ceph.error().message);
  Bare bare(*ceph);
  Ours ours(*ceph);
  // What a call costs that asks the manager nothing.
  std::vector<double> idle_ms;
  for (int i = 0; i < kVolumesOfARound; ++i) {
    const auto begin = Clock::now();
    ours.Delete("cephfs:" + std::string(32, '0'));
    idle_ms.push_back(std::chrono::duration<double, std::milli>(Clock::now() - begin).count());
  }
  std::printf("a delete of nothing, ms: %s\n", Spread(idle_ms).c_str());
  Results unused;
  Round(bare, 1, "warm-bare", &unused);
  Round(ours, 1, "warm-ours", &unused);
  for (const int clients : {1, 8}) {
    Results theirs;
    Results mine;
    for (int round = 0; round < kRounds; ++round) {
      const std::string names = std::to_string(clients) + "-" + std::to_string(round);
      Round(bare, clients, "bare-" + names, &theirs);
      Round(ours, clients, "ours-" + names, &mine);
    }
    const std::string by = std::to_string(clients) + (clients == 1 ? " client" : " clients");
    const auto tell = [&](const char* what, const std::vector<double>& our_rates,
                          const std::vector<double>& bare_rates) {
      std::printf("%s by %s, /s\n  gantry %s\n  bare   %s\n", what, by.c_str(),
                  Spread(our_rates).c_str(), Spread(bare_rates).c_str());
      Goal((std::string("gantry / bare: ") + what + " by " + by).c_str(),
           Percentile(our_rates, 0.5) / Percentile(bare_rates, 0.5), ">=", kGoal, "");
    };
    tell("creates", mine.creates, theirs.creates);
    tell("deletes", mine.deletes, theirs.deletes);
  }
  return 0;
}

}  // namespace
}  // namespace gantry::bench

int main() { return gantry::bench::Main(); }
