# What `cmake --install` lays down, in two components: `runtime`, which runs artifacts
# and knows neither LLVM nor MLIR, and `compiler`, everything else.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(CLEAVE_INSTALL_CMAKEDIR ${CMAKE_INSTALL_LIBDIR}/cmake/Cleave)

# Programs and libraries are found from where they lie, so a prefix may be moved; LLVM
# and MLIR where they were when this was built.
set(CMAKE_INSTALL_RPATH $ORIGIN/../${CMAKE_INSTALL_LIBDIR} $ORIGIN)
set(CMAKE_INSTALL_RPATH_USE_LINK_PATH ON)

# The header is the one place where the version of the C ABI stands.
file(STRINGS ${CMAKE_SOURCE_DIR}/include/cleave/Runtime/Session.h line
     REGEX "^#define CLEAVE_ABI_VERSION [0-9]+u$")
string(REGEX REPLACE "[^0-9]" "" CLEAVE_ABI_VERSION "${line}")
if(NOT CLEAVE_ABI_VERSION)
  message(FATAL_ERROR "Session.h defines no CLEAVE_ABI_VERSION")
endif()

# cleave_install_library(NAME): a library of the compiler, or one that it needs, for
# other compilers: CleaveNn is Cleave::Nn to them.
function(cleave_install_library name)
  string(REGEX REPLACE "^Cleave" "" short ${name})
  set_target_properties(${name} PROPERTIES EXPORT_NAME ${short})
  install(TARGETS ${name} EXPORT CleaveCompilerTargets COMPONENT compiler
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endfunction()

# cleave_install_package(): headers and the package's files, once all targets are known.
function(cleave_install_package)
  install(DIRECTORY ${CMAKE_SOURCE_DIR}/include/cleave/Runtime COMPONENT runtime
          DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/cleave
          FILES_MATCHING PATTERN "*.h" PATTERN "*.def"
          PATTERN ArtifactFormat.h EXCLUDE PATTERN CommandLine.h EXCLUDE
          PATTERN Tensors.h EXCLUDE)
  # Those are C++, and for the compiler.
  install(FILES ${CMAKE_SOURCE_DIR}/include/cleave/Runtime/ArtifactFormat.h
                ${CMAKE_SOURCE_DIR}/include/cleave/Runtime/CommandLine.h
                ${CMAKE_SOURCE_DIR}/include/cleave/Runtime/Tensors.h
          COMPONENT compiler DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/cleave/Runtime)
  install(DIRECTORY ${CMAKE_SOURCE_DIR}/include/cleave ${CMAKE_BINARY_DIR}/include/cleave
          COMPONENT compiler DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
          FILES_MATCHING PATTERN "*.h" PATTERN "*.td" PATTERN "*.inc"
          PATTERN Runtime EXCLUDE PATTERN CMakeFiles EXCLUDE)
  # "Nn/Nn.h" is what they are called, so they get a folder that is no one else's.
  install(DIRECTORY ${CMAKE_SOURCE_DIR}/dialects/ ${CMAKE_BINARY_DIR}/dialects/
          COMPONENT compiler DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/cleave/dialects
          FILES_MATCHING PATTERN "*.h" PATTERN "*.td" PATTERN "*.inc" PATTERN CMakeFiles EXCLUDE)

  install(EXPORT CleaveTargets NAMESPACE Cleave:: COMPONENT runtime
          DESTINATION ${CLEAVE_INSTALL_CMAKEDIR})
  install(EXPORT CleaveCompilerTargets NAMESPACE Cleave:: COMPONENT compiler
          DESTINATION ${CLEAVE_INSTALL_CMAKEDIR})
  configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/CleaveConfig.cmake.in
    ${CMAKE_BINARY_DIR}/CleaveConfig.cmake INSTALL_DESTINATION ${CLEAVE_INSTALL_CMAKEDIR})
  # Until 1.0 every minor version may change what it offers.
  write_basic_package_version_file(${CMAKE_BINARY_DIR}/CleaveConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
  install(FILES ${CMAKE_BINARY_DIR}/CleaveConfig.cmake
                ${CMAKE_BINARY_DIR}/CleaveConfigVersion.cmake
          COMPONENT runtime DESTINATION ${CLEAVE_INSTALL_CMAKEDIR})
endfunction()
