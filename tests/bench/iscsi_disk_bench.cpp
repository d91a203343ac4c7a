// SPDX-License-Identifier: Apache-2.0
// What a pod's raw device costs beyond the target: fio on the device that a node makes of a volume in
// user space (data path, FUSE, loop device), beside a program that speaks libiscsi with the same depth
// to the same LUN and does nothing else; in turns, on a real tgtd. And how long a node takes for a
// blank volume, from NodeStageVolume to a mounted ext4. Needs root, fio and tgtd.
//
//   iscsi_disk_bench [ROUNDS]
//
// Fails when a goal is missed. All of it shares this machine's processors, so that what fio, the
// loop device and the data path take is missing to the target too.
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "host/base/file.hpp"
#include "host/base/temp_dir.hpp"
#include "tests/bench/rounds.hpp"
#include "tests/integration/fuse_mount.hpp"
#include "tests/integration/iscsi_lab.hpp"

namespace {

using namespace gantry;
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr uint64_t kDeviceBytes = uint64_t{512} << 20;
constexpr uint32_t kBlockBytes = 512;
constexpr std::chrono::seconds kSeconds{3};  // of each measurement
constexpr int kRoundsDefault = 3;
constexpr double kStageSecondsMax = 1;

struct Work {
  const char* name;
  const char* rw;  // fio's
  uint32_t bytes;
  uint32_t depth;
  double ratio_min;
  bool is_random() const { return std::string_view(rw).starts_with("rand"); }
  bool is_write() const { return std::string_view(rw).ends_with("write"); }
};
constexpr Work kWorks[] = {{"128k reads, depth 8", "read", 128 << 10, 8, 0.90},
                           {"4k random reads, depth 32", "randread", 4 << 10, 32, 0.75},
                           {"1M writes, depth 8", "write", 1 << 20, 8, 0.70}};

// The least that a program over libiscsi can do: as many commands as the depth, each sent again when it
// is answered.
class LibiscsiProgram {
 public:
  LibiscsiProgram(const tests::LunVolume& volume, const Work& work)
      : work_(work),
        context_(iscsi_create_context(volume.publish_context.at("initiator").c_str()),
                 iscsi_destroy_context),
        lun_(std::stoi(volume.publish_context.at("lun"))) {
    const std::string& portals = volume.publish_context.at("portals");
    const std::string portal = portals.substr(0, portals.find(','));
    iscsi_context* const context = context_.get();
    if (context == nullptr ||
        iscsi_set_targetname(context, volume.publish_context.at("iqn").c_str()) != 0 ||
        iscsi_set_session_type(context, ISCSI_SESSION_NORMAL) != 0 ||
        iscsi_set_header_digest(context, ISCSI_HEADER_DIGEST_NONE) != 0 ||
        iscsi_full_connect_sync(context, portal.c_str(), lun_) != 0)
      throw std::runtime_error(std::string("libiscsi: ") + iscsi_get_error(context));
  }

  // Operations a second.
  double Run() {
    const auto begin = Clock::now();
    end_ = begin + kSeconds;
    slots_.resize(work_.depth);
    for (auto& slot : slots_) {
      slot.program = this;
      slot.buffer.assign(work_.bytes, 'p');
      Send(slot);
    }
    while (under_way_ > 0) {
      pollfd wait{iscsi_get_fd(context_.get()),
                  static_cast<short>(iscsi_which_events(context_.get())), 0};
      if (poll(&wait, 1, -1) < 0 || iscsi_service(context_.get(), wait.revents) != 0)
        throw std::runtime_error(std::string("libiscsi: ") + iscsi_get_error(context_.get()));
    }
    const double rate =
        static_cast<double>(done_) / std::chrono::duration<double>(Clock::now() - begin).count();
    iscsi_logout_sync(context_.get());
    return rate;
  }

 private:
  struct Slot {
    LibiscsiProgram* program = nullptr;
    std::vector<unsigned char> buffer;
    scsi_iovec vector{};
  };

  void Send(Slot& slot) {
    const uint64_t pieces = kDeviceBytes / work_.bytes;
    const uint64_t piece = work_.is_random() ? random_() % pieces : next_++ % pieces;
    const uint64_t lba = piece * work_.bytes / kBlockBytes;
    slot.vector = {slot.buffer.data(), slot.buffer.size()};
    const scsi_task* const task =
        work_.is_write()
            ? iscsi_write16_iov_task(context_.get(), lun_, lba, nullptr, work_.bytes, kBlockBytes,
                                     0, 0, 0, 0, 0, &Answered, &slot, &slot.vector, 1)
            : iscsi_read16_iov_task(context_.get(), lun_, lba, work_.bytes, kBlockBytes, 0, 0, 0, 0,
                                    0, &Answered, &slot, &slot.vector, 1);
    if (task == nullptr) throw std::runtime_error("libiscsi takes no command");
    ++under_way_;
  }
  static void Answered(iscsi_context* /*context*/, int status, void* data, void* slot) {
    auto& answered = *static_cast<Slot*>(slot);
    scsi_free_scsi_task(static_cast<scsi_task*>(data));
    --answered.program->under_way_;
    if (status != SCSI_STATUS_GOOD) throw std::runtime_error("a command failed");
    ++answered.program->done_;
    if (Clock::now() < answered.program->end_) answered.program->Send(answered);
  }

  const Work work_;
  const std::unique_ptr<iscsi_context, int (*)(iscsi_context*)> context_;
  const int lun_;
  Clock::time_point end_;
  std::vector<Slot> slots_;
  std::mt19937_64 random_{1};
  uint64_t next_ = 0;
  uint64_t under_way_ = 0;
  uint64_t done_ = 0;
};

double ProcessorSeconds(const std::vector<pid_t>& pids) {
  double seconds = 0;
  for (const pid_t pid : pids) {
    const auto text = base::ReadFile("/proc/" + std::to_string(pid) + "/stat", 4096);
    if (!text) continue;
    unsigned long user = 0;
    unsigned long system = 0;
    std::sscanf(text->c_str() + text->rfind(')') + 2,
                "%*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %lu %lu", &user, &system);
    seconds += static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
  }
  return seconds;
}

struct Measured {
  double rate = 0;     // operations a second
  double path_us = 0;  // of a processor, in the data path, for each
  double target_us = 0;
};

Measured Fio(const Work& work, const fs::path& device, const std::vector<pid_t>& path,
             pid_t target) {
  const base::TempDir directory;
  const fs::path report = directory.path() / "fio.json";
  const std::string command =
      "fio --name=b --filename=" + device.string() + " --rw=" + work.rw +
      " --bs=" + std::to_string(work.bytes) + " --iodepth=" + std::to_string(work.depth) +
      " --ioengine=libaio --direct=1 --size=" + std::to_string(kDeviceBytes) +
      " --time_based --runtime=" + std::to_string(kSeconds.count()) +
      " --norandommap --output-format=json --output=" + report.string();
  const double path_before = ProcessorSeconds(path);
  const double target_before = ProcessorSeconds({target});
  if (std::system(command.c_str()) != 0) throw std::runtime_error("fio failed");
  const double path_used = ProcessorSeconds(path) - path_before;
  const double target_used = ProcessorSeconds({target}) - target_before;
  const auto text = base::ReadFile(report, 1 << 20);
  const auto json = nlohmann::json::parse(text ? *text : "", nullptr, false);
  if (json.is_discarded()) throw std::runtime_error("fio said nothing");
  const auto& side = json["jobs"][0][work.is_write() ? "write" : "read"];
  const auto operations = side["total_ios"].get<double>();
  return {side["iops"].get<double>(), path_used * 1e6 / operations, target_used * 1e6 / operations};
}

void Must(const grpc::Status& status) {
  if (!status.ok()) throw std::runtime_error(tests::Say(status));
}

// False: a goal was missed.
bool MeasureDevice(tests::IscsiTarget& target, tests::IscsiNode& node, int rounds) {
  tests::LunVolume volume = tests::Named("bench");
  volume.block = true;
  volume.bytes = kDeviceBytes;
  Must(node.Create(volume));
  Must(node.Attach(volume, node.id()));
  // Every block is there.
  LibiscsiProgram(volume, {"", "write", 1 << 20, 8, 0}).Run();
  bool met = true;
  for (const Work& work : kWorks) {
    std::vector<double> ratios;
    std::vector<double> programs;
    std::vector<double> devices;
    Measured last;
    for (int round = 0; round < rounds; ++round) {
      programs.push_back(LibiscsiProgram(volume, work).Run());
      Must(node.Stage(volume));
      Must(node.Publish(volume));
      last = Fio(work, node.Target(volume), node.DataPathPids(), target.tgt().pid());
      devices.push_back(last.rate);
      Must(node.Unpublish(volume));
      Must(node.Unstage(volume));
      ratios.push_back(devices.back() / programs.back());
    }
    std::printf(
        "%-28s program %9.0f/s, device %9.0f/s; per operation: path %.1f us, tgtd %.1f us\n",
        work.name, bench::Percentile(programs, 0.5), bench::Percentile(devices, 0.5), last.path_us,
        last.target_us);
    const double ratio = bench::Percentile(ratios, 0.5);
    bench::Goal(work.name, ratio, ">=", work.ratio_min, "of the program");
    met = met && ratio >= work.ratio_min;
  }
  Must(node.Detach(volume, node.id()));
  Must(node.Delete(volume));
  return met;
}

bool MeasureStage(tests::IscsiNode& node, int rounds) {
  std::vector<double> seconds;
  for (int round = 0; round < rounds; ++round) {
    tests::LunVolume volume = tests::Named("blank-" + std::to_string(round));
    volume.bytes = uint64_t{1} << 30;
    Must(node.Create(volume));
    Must(node.Attach(volume, node.id()));
    const auto begin = Clock::now();
    Must(node.Stage(volume));
    seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
    Must(node.Publish(volume));
    Must(node.Down(volume));
    Must(node.Delete(volume));
  }
  const double median = bench::Percentile(seconds, 0.5);
  bench::Goal("blank volume of 1 GiB to mounted ext4", median, "<=", kStageSecondsMax, "s");
  return median <= kStageSecondsMax;
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : kRoundsDefault;
  tests::EnterMountNamespace();
  tests::IscsiTarget target;
  tests::IscsiNode node(target, "node-a");
  const bool stage = MeasureStage(node, rounds);
  const bool device = MeasureDevice(target, node, rounds);
  return stage && device ? 0 : 1;
}
