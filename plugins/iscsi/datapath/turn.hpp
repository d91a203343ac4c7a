// SPDX-License-Identifier: Apache-2.0
// See IscsiDataPath::Turn.
#pragma once

#include "plugins/iscsi/datapath/data_path.hpp"

namespace gantry::iscsi {

class IscsiDataPath::Turn {
 public:
  explicit Turn(IscsiDataPath& path) : path_(path) { ++path_.depth_; }
  Turn(const Turn&) = delete;
  ~Turn() {
    if (path_.depth_ == 1) path_.Settle();
    --path_.depth_;
  }

 private:
  IscsiDataPath& path_;
};

}  // namespace gantry::iscsi
