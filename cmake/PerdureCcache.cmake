# ccache as it has to be called, whatever the environment: paths below the source tree are relative, so that a clone
# elsewhere finds what another compiled; PCH_DEFINES and TIME_MACROS are what precompiled headers need; depend mode saves
# the preprocessor's run before each compilation.
foreach(language C CXX)
  if(CMAKE_${language}_COMPILER_LAUNCHER MATCHES "(^|/)ccache$")
    set(CMAKE_${language}_COMPILER_LAUNCHER
        env CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1 CCACHE_DEPEND=1
        CCACHE_SLOPPINESS=pch_defines,time_macros ${CMAKE_${language}_COMPILER_LAUNCHER})
  endif()
endforeach()
