pluginManagement {
    repositories {
        google()
        mavenCentral()
    }
}
dependencyResolutionManagement {
    repositories {
        google()
        mavenCentral()
        mavenLocal { content { includeGroup("io.github.sa3edge") } }
    }
}
rootProject.name = "sa3-edge-sample"
include(":app")
