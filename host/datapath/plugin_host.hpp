// SPDX-License-Identifier: Apache-2.0
// What the plugin sees of us: the C tables of gantry_host, gantry.call/1 and
// gantry.datapath-host/1, bound to the parts that do the work. Of an instance's life there are only
// create and, through gantry.datapath/1, open and close: start may wait for the storage, and
// nothing here may; the process then ends by _exit.
#pragma once

#include <gantry/gantry.h>

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "host/base/clock.hpp"
#include "host/base/error.hpp"
#include "host/datapath/disk_volume.hpp"
#include "host/datapath/event_loop.hpp"
#include "host/datapath/keeper_link.hpp"
#include "host/datapath/memory.hpp"
#include "host/datapath/server.hpp"
#include "host/wire/data_path_description.hpp"
#include "host/wire/log_pipe.hpp"

namespace gantry::datapath {

constexpr size_t kPluginTimer = 1;   // of the EventLoop
constexpr size_t kPresentTimer = 3;  // likewise
// A region that a predecessor has filled is made present in such steps, since callers wait.
constexpr size_t kPresentStepBytes = 256 * 1024;
constexpr int64_t kPresentPauseNs = 5'000'000;

// Must outlive the plugin's threads, hence the process. The log may be called from any thread, the
// rest on the loop's.
class PluginHost {
 public:
  PluginHost(EventLoop& loop, Server& server, KeeperLink& keeper,
             const wire::DataPathDescription& description, wire::LogPipe& log);
  PluginHost(const PluginHost&) = delete;

  // Makes the instance with the role DATAPATH and takes its gantry.datapath/1; of a disk its
  // gantry.disk/1, as a filesystem (disk_volume.hpp), and *instance is that.
  base::Result<const gantry_datapath*> Create(const gantry_plugin& plugin, base::TimePoint deadline,
                                              gantry_instance** instance);
  // Once a turn.
  void Pump() {
    if (disk_) disk_->Pump();
  }

 private:
  // The one call there is, create; it may end on any thread.
  struct CreateCall {
    std::mutex mutex;
    std::condition_variable changed;
    bool finished = false;
    base::Code code = base::Code::kOk;
    std::string message;
    base::TimePoint deadline;
    std::deque<std::vector<std::max_align_t>> memory;
    size_t memory_bytes = 0;
  };
  struct Region {
    Mapping mapping;
    size_t bytes;
    size_t present;  // from the beginning, in this mapping
  };

  void MakeMorePresent();
  void MakePresentSoon();
  void FillTables();
  void FillDatapathTable();
  base::Status RunCreate(const gantry_plugin& plugin, base::TimePoint deadline,
                         gantry_instance** instance);
  const void* Extension(std::string_view id) const;
  void* GetRegion(std::string_view name, size_t bytes, int32_t* fresh);
  bool GetSecret(gantry_str key, gantry_str* value) const;

  EventLoop& loop_;
  Server& server_;
  KeeperLink& keeper_;
  const wire::DataPathDescription& description_;
  wire::LogPipe& log_;
  gantry_host host_{};
  gantry_call_api call_api_{};
  gantry_datapath_host datapath_host_{};
  CreateCall create_;
  std::unique_ptr<DiskVolume> disk_;
  std::map<std::string, Region, std::less<>> regions_;
};

}  // namespace gantry::datapath
