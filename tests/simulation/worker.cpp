// SPDX-License-Identifier: Apache-2.0
#include "tests/simulation/worker.hpp"

#include <csi/v1/csi.pb.h>
#include <gantry/abi.h>
#include <gantry/channel.pb.h>

#include <algorithm>
#include <csignal>
#include <set>

#include "host/base/error.hpp"

namespace gantry::simulation {
namespace {

using namespace std::chrono_literals;
using base::Code;

constexpr size_t kSlots = 12;
constexpr const char* kOffered[kSlots] = {"gantry.controller/1:create_volume",
                                          "gantry.controller/1:delete_volume",
                                          "gantry.controller/1:get_volume",
                                          "gantry.controller/1:list_volumes",
                                          "gantry.controller/1:get_capacity",
                                          "gantry.controller/1:expand_volume",
                                          "gantry.controller/1:modify_volume",
                                          "gantry.publish/1:publish_volume",
                                          "gantry.publish/1:unpublish_volume",
                                          "gantry.task/1:list_tasks",
                                          "gantry.task/1:run_task",
                                          "gantry.publish/1:list"};
// Another controller's lease on a task counts for so long after it was renewed.
constexpr auto kTaskLease = 10s;

class Worker {
 public:
  Worker(World& world, Process& process)
      : world_(world), simulation_(world.simulation), process_(process), link_(process.link) {
    deaf_ = world_.Happens(world_.FaultsOf(process.backend).deaf_one_in);
  }

  void Run(const std::shared_ptr<Worker>& self) {
    for (;;) {
      if (process_.dead) return;
      if (!link_->to_worker.empty()) {
        auto message = std::move(link_->to_worker.front());
        link_->to_worker.pop_front();
        if (world_.Happens(8)) simulation_.Sleep(world_.Between(0us, 300us));
        Take(self, message);
        continue;
      }
      if (link_->cut_for_worker()) break;
      (void)simulation_.Block(link_->worker_waits, {}, "the host");
    }
    // The end of the channel is the end of the worker, unless it is stuck: then it is killed.
    if (world_.Happens(world_.FaultsOf(process_.backend).stays_one_in)) return;
    simulation_.Sleep(world_.Between(0us, 20ms));
    world_.Die(process_, 0);
  }

 private:
  struct Task {
    std::shared_ptr<Worker> self;
    uint64_t id = 0;
    channel::Call call;
    int64_t faulty_step = -1;  // the step at which it crashes or hangs
    bool hangs = false;
    bool slow = false;
    int64_t step = 0;
  };

  void Take(const std::shared_ptr<Worker>& self, const wire::Message& message) {
    switch (message.kind) {
      case wire::Kind::kPing:
        if (!deaf_ || simulation_.OneIn(3)) Send({wire::Kind::kPong, message.call_id, {}, {}, {}});
        return;
      case wire::Kind::kCancel:
        cancelled_.insert(message.call_id);
        return;
      case wire::Kind::kCall:
        break;
      default:
        return;
    }
    auto task = std::make_shared<Task>();
    task->self = self;
    task->id = message.call_id;
    if (!task->call.ParseFromString(message.payload)) simulation_.Fail("an unreadable call");
    simulation_.Start([task] { task->self->Serve(*task); },
                      process_.name + " " + channel::Operation_Name(task->call.operation()));
  }

  void Send(wire::Message message) {
    if (process_.dead) return;
    link_->to_host.push_back(std::move(message));
    simulation_.WakeAll(link_->host_waits);
  }
  void Emit(const Task& task, const channel::Emit& emit) {
    Send({wire::Kind::kEmit, task.id, emit.SerializeAsString(), {}, {}});
  }
  void Finish(const Task& task, Code code, const std::string& message = {}) {
    channel::Finish finish;
    finish.set_code(static_cast<int32_t>(code));
    finish.set_message(message);
    if (simulation_.tracing() && !process_.dead)
      simulation_.Trace("finishes " + Name(task) + " with " + base::CodeName(code));
    Send({wire::Kind::kFinish, task.id, finish.SerializeAsString(), {}, {}});
    cancelled_.erase(task.id);
  }
  static std::string Name(const Task& task) {
    return channel::Operation_Name(task.call.operation()) + " " + task.call.handle() +
           task.call.key() + task.call.task().key() + " attempt " +
           std::to_string(task.call.attempt());
  }

  // A piece of work. False when there is nobody any more who could go on.
  bool Work(Task& task) {
    if (task.step++ == task.faulty_step) {
      if (task.hangs) {
        simulation_.Trace("hangs in " + Name(task));
        if (task.call.operation() < channel::CREATE_VOLUME) world_.NoteTrouble(process_);
        // The host's watchdog must end it some day; an operator may be faster.
        if (simulation_.OneIn(2)) {
          simulation_.Sleep(world_.Between(5s, 90s));
          world_.Kill(process_);
        }
        while (!process_.dead) (void)simulation_.Block(process_.ending, {}, "nothing: it hangs");
        return false;
      }
      world_.Die(process_, SIGSEGV);
      return false;
    }
    simulation_.Sleep(task.slow ? world_.Between(50ms, 6s) : world_.Between(20us, 4ms));
    return !process_.dead;
  }
  bool IsCancelled(const Task& task) const { return cancelled_.contains(task.id); }
  // Nothing is committed for a caller whose time is over: he may have gone elsewhere.
  bool IsLate(const Task& task) const {
    return base::ToNanoseconds(simulation_.now()) >= task.call.deadline_ns();
  }

  void Serve(Task& task) {
    const auto& faults = world_.FaultsOf(process_.backend);
    constexpr uint64_t kFaultyStepMax = 4;
    // A release that serves nobody well.
    const bool is_bad = process_.plugin.find("bad-") != std::string::npos &&
                        task.call.operation() >= channel::CREATE_VOLUME && simulation_.OneIn(2);
    if (is_bad || world_.Happens(faults.crash_one_in)) {
      task.faulty_step = static_cast<int64_t>(simulation_.Below(kFaultyStepMax));
    } else if (world_.Happens(faults.hang_one_in)) {
      task.faulty_step = static_cast<int64_t>(simulation_.Below(kFaultyStepMax));
      task.hangs = true;
    }
    // Its life's steps have deadlines of their own.
    task.slow =
        task.call.operation() >= channel::CREATE_VOLUME && world_.Happens(faults.slow_one_in);
    if (simulation_.tracing()) simulation_.Trace("begins " + Name(task));
    if (task.call.operation() >= channel::CREATE_VOLUME &&
        task.call.operation() != channel::LIST_TASKS && world_.Happens(faults.refuse_one_in)) {
      if (Work(task))
        Finish(task, simulation_.OneIn(2) ? Code::kUnavailable : Code::kAborted, kRefusal);
      return;
    }
    switch (task.call.operation()) {
      case channel::CREATE_INSTANCE:
        return Describe(task);
      case channel::ACTIVATE:
      case channel::DEACTIVATE:
        process_.active = task.call.operation() == channel::ACTIVATE;
        if (Work(task)) Finish(task, Code::kOk);
        return;
      case channel::STOP:
        if (!Work(task)) return;
        Finish(task, Code::kOk);
        simulation_.Sleep(world_.Between(0us, 5ms));
        return world_.Die(process_, 0);
      case channel::CREATE_VOLUME:
        return Create(task);
      case channel::DELETE_VOLUME:
        return Delete(task);
      case channel::EXPAND_VOLUME:
        return Expand(task);
      case channel::PUBLISH_VOLUME:
      case channel::UNPUBLISH_VOLUME:
        return Publish(task);
      case channel::LIST_VOLUMES:
        return List(task);
      case channel::LIST_TASKS:
        return ListTasks(task);
      case channel::RUN_TASK:
        return RunTask(task);
      default:
        if (Work(task)) Finish(task, Code::kOk);
        return;
    }
  }

  void Describe(Task& task) {
    if (!Work(task)) return;
    channel::Emit emit;
    auto& description = *emit.mutable_description();
    description.set_name("one");
    description.set_version(process_.plugin);
    for (const char* slot : kOffered) description.add_slots(slot);
    description.set_access_modes(~0U);
    description.set_access_types(~0U);
    description.set_record_format_max(2);
    description.set_context_format_max(2);
    Emit(task, emit);
    Finish(task, Code::kOk);
  }

  StoredVolume& Volume(const Task& task) {
    return world_.storage.volume(process_.backend, task.call.handle());
  }
  void EmitVolume(const Task& task, const std::string& handle, uint64_t capacity,
                  const std::string& token) {
    channel::Emit emit;
    emit.mutable_volume()->set_handle(handle);
    emit.mutable_volume()->set_capacity_bytes(capacity);
    if (!token.empty()) (*emit.mutable_volume()->mutable_context())["token"] = token;
    Emit(task, emit);
  }
  // The end of a change, then the answer; between them nobody else runs.
  void End(Storage::Change& change, const Task& task, Code code) {
    change.End();
    Finish(task, code);
  }

  void Create(Task& task) {
    csi::v1::CreateVolumeRequest request;
    request.ParseFromString(task.call.request());
    const std::string handle = task.call.key();
    auto change = world_.storage.Begin(process_, "name " + handle, Name(task));
    if (!Work(task)) return;
    if (IsCancelled(task)) return End(change, task, Code::kCancelled);
    if (IsLate(task)) return End(change, task, Code::kDeadlineExceeded);
    const auto bytes = static_cast<uint64_t>(request.capacity_range().required_bytes());
    world_.storage.Create(process_.backend, handle, bytes);
    if (!Work(task)) return;
    EmitVolume(task, handle, world_.storage.volume(process_.backend, handle).capacity,
               request.parameters().at("token"));
    if (simulation_.OneIn(4) && !Work(task)) return;
    End(change, task, Code::kOk);
  }

  void Delete(Task& task) {
    auto change = world_.storage.Begin(process_, "volume " + task.call.handle(), Name(task));
    const uint64_t incarnation = Volume(task).incarnation;
    if (!Work(task)) return;
    if (IsCancelled(task)) return End(change, task, Code::kCancelled);
    if (IsLate(task)) return End(change, task, Code::kDeadlineExceeded);
    if (Volume(task).exists && Volume(task).incarnation == incarnation) {
      world_.storage.Remove(process_.backend, task.call.handle());
      StoredTask trash;
      trash.kind = "trash";
      trash.key = task.call.handle() + "." + std::to_string(incarnation);
      trash.steps = 1 + simulation_.Below(5);
      world_.storage.AddTask(process_.backend, trash);
      if (simulation_.OneIn(2)) {
        channel::Emit emit;
        emit.mutable_task()->set_kind(trash.kind);
        emit.mutable_task()->set_key(trash.key);
        Emit(task, emit);
      }
    }
    if (!Work(task)) return;
    End(change, task, Code::kOk);
  }

  void Expand(Task& task) {
    csi::v1::ControllerExpandVolumeRequest request;
    request.ParseFromString(task.call.request());
    auto change = world_.storage.Begin(process_, "volume " + task.call.handle(), Name(task));
    if (!Work(task)) return;
    if (IsCancelled(task)) return End(change, task, Code::kCancelled);
    if (IsLate(task)) return End(change, task, Code::kDeadlineExceeded);
    if (!Volume(task).exists) return End(change, task, Code::kNotFound);
    // Its own answer, whatever another controller makes of the name meanwhile.
    const uint64_t capacity = std::max(
        Volume(task).capacity, static_cast<uint64_t>(request.capacity_range().required_bytes()));
    Volume(task).capacity = capacity;
    StoredTask reconcile;
    reconcile.kind = "reconcile";
    reconcile.key = task.call.handle();
    reconcile.lock = task.call.handle();
    reconcile.steps = 1 + simulation_.Below(3);
    world_.storage.AddTask(process_.backend, reconcile);
    if (!Work(task)) return;
    EmitVolume(task, task.call.handle(), capacity, {});
    End(change, task, Code::kOk);
  }

  void Publish(Task& task) {
    auto change = world_.storage.Begin(process_, "volume " + task.call.handle(), Name(task));
    if (!Work(task)) return;
    if (IsLate(task)) return End(change, task, Code::kDeadlineExceeded);
    if (!Volume(task).exists) return End(change, task, Code::kNotFound);
    if (task.call.operation() == channel::PUBLISH_VOLUME) {
      Volume(task).nodes.insert(task.call.node_id());
      channel::Emit emit;
      (*emit.mutable_publish_context()->mutable_values())["node"] = task.call.node_id();
      Emit(task, emit);
    } else {
      Volume(task).nodes.erase(task.call.node_id());
    }
    if (!Work(task)) return;
    End(change, task, Code::kOk);
  }

  void List(Task& task) {
    if (!Work(task)) return;
    std::vector<std::pair<std::string, uint64_t>> found;
    for (const auto& [handle, volume] : world_.storage.volumes(process_.backend)) {
      if (!volume.exists || handle <= task.call.after()) continue;
      if (task.call.max_entries() != 0 && found.size() >= task.call.max_entries()) break;
      found.emplace_back(handle, volume.capacity);
    }
    for (const auto& [handle, capacity] : found) {
      if (simulation_.OneIn(2) && !Work(task)) return;
      EmitVolume(task, handle, capacity, {});
    }
    Finish(task, Code::kOk);
  }

  void ListTasks(Task& task) {
    if (!Work(task)) return;
    for (const auto& [name, stored] : world_.storage.tasks(process_.backend)) {
      channel::Emit emit;
      emit.mutable_task()->set_kind(stored.kind);
      emit.mutable_task()->set_key(stored.key);
      emit.mutable_task()->set_lock(stored.lock);
      Emit(task, emit);
    }
    Finish(task, Code::kOk);
  }

  void RunTask(Task& task) {
    const std::string kind = task.call.task().kind();
    const std::string key = task.call.task().key();
    const auto find = [&] { return world_.storage.FindTask(process_.backend, kind, key); };
    auto change = world_.storage.Begin(process_, "task " + kind + " " + key, Name(task));
    if (!process_.active && !process_.dead)
      simulation_.Fail(Name(task) + " on " + process_.name + ", which is not active");
    if (find() == nullptr) return End(change, task, Code::kNotFound);
    const std::string lock = find()->lock;
    auto locked = world_.storage.Begin(
        process_, lock.empty() ? "task's lock of " + kind + " " + key : "volume " + lock,
        Name(task));
    uint64_t at = 0;
    const std::string prefix = kind + "/" + key + "/";
    if (const auto& cursor = task.call.task().cursor(); !cursor.empty()) {
      if (!cursor.starts_with(prefix))
        simulation_.Fail("the cursor " + cursor + " for the task " + prefix);
      at = std::stoull(cursor.substr(prefix.size()));
    }
    for (;;) {
      auto* stored = find();
      if (stored == nullptr) break;
      if (!stored->owner.empty() && stored->owner != process_.node &&
          simulation_.now() < stored->renewed + kTaskLease) {
        locked.End();
        return End(change, task, Code::kAborted);
      }
      stored->owner = process_.node;
      stored->renewed = simulation_.now();
      if (at >= stored->steps) break;
      if (!Work(task)) return;
      if (!process_.active && !IsCancelled(task))
        simulation_.Fail(Name(task) + " goes on at " + process_.name + ", which was deactivated");
      ++at;
      channel::Emit emit;
      emit.mutable_progress()->set_cursor(prefix + std::to_string(at));
      emit.mutable_progress()->set_done(at);
      Emit(task, emit);
      // A slice at a time, now and then.
      if (IsCancelled(task) || IsLate(task) || simulation_.OneIn(6)) {
        locked.End();
        return End(change, task, Code::kAborted);
      }
    }
    if (const auto* stored = find(); stored != nullptr) world_.TaskDone(process_, *stored);
    world_.storage.DoneTask(process_.backend, kind, key);
    locked.End();
    End(change, task, Code::kOk);
  }

  World& world_;
  Simulation& simulation_;
  Process& process_;
  const std::shared_ptr<Link> link_;
  std::set<uint64_t> cancelled_;
  bool deaf_ = false;
};

}  // namespace

void RunWorker(World& world, Process& process) {
  const auto worker = std::make_shared<Worker>(world, process);
  worker->Run(worker);
}

}  // namespace gantry::simulation
