# SPDX-License-Identifier: Apache-2.0
# Presets with sanitizers compile up to eight files of a target as one (CMAKE_UNITY_BUILD): there most
# of the time goes into instrumenting what headers bring into every file, and this has it done once
# for eight. dev and release compile file by file, which is what finds a missing include.
#
# These files have a name of their own that another file of their target has too; they stay apart.
# "redefinition of" in a unity_N_cxx.cxx means: one more for this list.
set(apart
  host/core/groups_test.cpp
  host/core/node_block_test.cpp
  host/core/server_pattern.cpp
  host/ctl/plugin.cpp
  host/datapath/event_loop.cpp
  host/datapath/server_requests.cpp
  host/services/block_staging.cpp
  host/services/block_staging_test.cpp
  host/services/disk_release_test.cpp
  host/services/exec_test.cpp
  host/services/helper.cpp
  host/services/provenance.cpp
  host/supervise/lease_test.cpp
  host/wire/keeper_protocol.cpp
  host/worker/call_table_test.cpp
  host/worker/datapath_mode.cpp
  host/worker/load.cpp
  tests/integration/cephfs_files_test.cpp
  tests/integration/disk_loop_test.cpp
  tests/integration/nfs_programs_test.cpp
  tests/integration/survival_load.cpp
  tests/lab/ganesha.cpp
  tests/lab/sshd.cpp
  tests/lab/tgt.cpp)

# tests/simulation defines these files' functions itself, so that the linker leaves them out.
list(APPEND apart
  host/base/process.cpp
  host/supervise/lease.cpp
  host/swap/journal.cpp
  host/wire/channel.cpp
  host/wire/log_pipe.cpp
  host/wire/socket_pair.cpp)

# A file's properties belong to the folder whose target has it; tests/simulation has the host's too.
foreach(file ${apart})
  get_filename_component(folder ${CMAKE_SOURCE_DIR}/${file} DIRECTORY)
  set_source_files_properties(${CMAKE_SOURCE_DIR}/${file}
    DIRECTORY ${folder} ${CMAKE_SOURCE_DIR}/tests/simulation
    PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endforeach()

# A type in an unnamed namespace is a mistake in a header, and a file is one here.
if(CMAKE_UNITY_BUILD)
  target_compile_options(gantry_warnings INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-Wno-subobject-linkage>)
endif()
