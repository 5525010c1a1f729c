package i2uv.edge.app;

import android.annotation.SuppressLint;
import android.content.Context;
import android.content.SharedPreferences;
import i2uv.edge.engine.Store;
import java.util.Set;

/** The app's preferences. */
final class Preferences implements Store {
    private final SharedPreferences preferences;

    Preferences(Context context) {
        preferences = context.getSharedPreferences("marks", Context.MODE_PRIVATE);
    }

    @Override
    public String get(String key) {
        return preferences.getString(key, null);
    }

    /** Waits for the disk: the next thing to happen may be a crash. */
    @SuppressLint("ApplySharedPref")
    @Override
    public void put(String key, String value) {
        SharedPreferences.Editor editor = preferences.edit();
        if (value == null) {
            editor.remove(key);
        } else {
            editor.putString(key, value);
        }
        editor.commit();
    }

    @Override
    public Set<String> keys() {
        return preferences.getAll().keySet();
    }
}
